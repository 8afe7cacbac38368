"""Asking for a secret: without echo at a terminal, else a line of standard input. Never in argv."""

import sys

import click

from appliance.errors import AccessError


def ask_secret(question: str, *, twice: bool = False) -> str:
    """`twice` at a terminal, against slips of the finger. Raises: AccessError when none came."""
    if sys.stdin is not None and sys.stdin.isatty():
        return str(click.prompt(question, hide_input=True, confirmation_prompt=twice, err=True))
    try:
        line = sys.stdin.readline() if sys.stdin is not None else ""
        line.encode()  # some locales let through what is no text
    except UnicodeError as exc:
        raise AccessError("standard input is no text in UTF-8", "type it at a terminal") from exc
    if not line:
        raise AccessError(f"standard input ended before this: {question}", "give one secret a line")
    return line.removesuffix("\n").removesuffix("\r")
