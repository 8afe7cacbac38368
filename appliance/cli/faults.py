"""What nobody foresaw: the trace in a file, one line for the person."""

import os
import sys
import traceback

from appliance.config import load_config
from appliance.errors import ApplianceError


def keep_fault() -> ApplianceError:
    """Write the exception being handled to the faults file; the error to show instead.

    What the exceptions say is left out: it may name a file, and so a patient.
    """
    try:
        path = load_config(os.environ, {}).faults_file
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        with os.fdopen(descriptor, "a", encoding="utf-8") as file:
            file.write(_trace(sys.exception()) + "\n")
        where = f"the details are in {path}"
    except (OSError, ApplianceError):
        where = "the details could not be written"
    kind = sys.exc_info()[0]
    return ApplianceError(
        f"something unforeseen happened ({kind.__name__ if kind else '?'}); {where}",
        "try again; if it stays, give that file to whoever looks after the appliance",
        code="unforeseen",
    )


def _trace(exc: BaseException | None) -> str:
    """Where it was raised and of what kind, its causes first."""
    if exc is None:
        return ""
    before = exc.__cause__ or (None if exc.__suppress_context__ else exc.__context__)
    number = f" {exc.errno}" if isinstance(exc, OSError) else ""
    places = "".join(traceback.format_tb(exc.__traceback__))
    return f"{_trace(before)}{places}{type(exc).__name__}{number}\n"
