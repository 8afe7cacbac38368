"""Everything the commands say on stderr: errors with their hint, and progress."""

import contextlib
import os
import sys

import click

from appliance.core.text import safe_line
from appliance.errors import ApplianceError


def print_error(error: ApplianceError) -> None:
    """`error:` names the thing, `hint:` one action. Stdout is flushed first, to keep order."""
    sys.stdout.flush()
    click.echo(f"error: {safe_line(error.message)}", err=True)
    click.echo(f"hint: {safe_line(error.hint)}", err=True)


def print_progress(text: str) -> None:
    """One line that the next one replaces; silent unless a person watches."""
    if sys.stderr.isatty():
        click.echo(f"\r\x1b[2K{safe_line(text)}" if text else "\r\x1b[2K", nl=False, err=True)


def say_at_once(text: str) -> None:
    """Unbuffered, for a signal handler: the buffers may be in use just then."""
    with contextlib.suppress(OSError):
        os.write(2, text.encode())


def print_note(text: str) -> None:
    sys.stdout.flush()
    click.echo(safe_line(text), err=True)
