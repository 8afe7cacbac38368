"""What nobody foresaw: the whole trace in a file, one line for the person."""

import os
import sys
import traceback

from appliance.config import load_config
from appliance.errors import ApplianceError


def keep_fault() -> ApplianceError:
    """Write the exception being handled to the faults file; the error to show instead."""
    try:
        path = load_config(os.environ, {}).faults_file
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        with os.fdopen(descriptor, "a", encoding="utf-8") as file:
            file.write(traceback.format_exc() + "\n")
        where = f"the details are in {path}"
    except (OSError, ApplianceError):
        where = "the details could not be written"
    kind = sys.exc_info()[0]
    return ApplianceError(
        f"something unforeseen happened ({kind.__name__ if kind else '?'}); {where}",
        "try again; if it stays, give that file to whoever looks after the appliance",
        code="unforeseen",
    )
