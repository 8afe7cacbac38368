"""Everything the commands print on stdout: data only, made safe for a terminal."""

import json
import sys
import textwrap
from collections.abc import Iterable, Mapping
from typing import Any

import click

from appliance.core.text import safe_line, safe_text

WIDTH = 80
NOT_FOR_CLINICAL_USE = "DEMONSTRATION RELEASE - not for clinical use"
NOT_MEASURED = "NOT MEASURED HERE"
FOR_TRIAL = f"the model's words, {NOT_MEASURED}, for trial only:"


def print_json(value: Mapping[str, Any]) -> None:
    """One object on one line. ASCII: nothing in it can move a terminal's cursor."""
    click.echo(json.dumps(value))
    sys.stdout.flush()


def print_line(text: str = "") -> None:
    click.echo(safe_line(text))


def print_row(*cells: tuple[str, int]) -> None:
    """Texts in columns of the widths given."""
    click.echo("  ".join(f"{safe_line(text):<{width}}" for text, width in cells).rstrip())


def print_drawing(lines: Iterable[str]) -> None:
    """Lines of our own making, every space as it is."""
    for line in lines:
        click.echo(line)


def print_block(text: str, indent: str = "    ") -> None:
    """Running text, wrapped; its own line breaks are kept."""
    for line in safe_text(text).splitlines():
        click.echo(
            textwrap.fill(line, WIDTH, initial_indent=indent, subsequent_indent=indent)
            if line.strip()
            else ""
        )


def print_field(name: str, text: str) -> None:
    """A name in a column of its own, and its text beside it."""
    indent = " " * 16
    click.echo(
        textwrap.fill(
            safe_line(text), WIDTH, initial_indent=f"  {name:<14}", subsequent_indent=indent
        )
    )
