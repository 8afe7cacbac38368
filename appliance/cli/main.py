"""`appliance`: the group of all verbs, settings, and where errors become exit codes."""

import os
import sys
import traceback
from collections.abc import Sequence
from typing import Any

import click

from appliance import __version__
from appliance.cli.audit import audit
from appliance.cli.caption import caption
from appliance.cli.diagnostics import print_error
from appliance.cli.guidelines import guidelines, lookup
from appliance.cli.release import release
from appliance.cli.settings import config as config_command
from appliance.config import load_config
from appliance.errors import ApplianceError

INTERRUPTED = 130


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="appliance")
@click.option("--release", metavar="NAME", help="Model release to use.")
@click.option("--threads", type=int, metavar="N", help="Processor threads (0: all cores).")
@click.pass_context
def main(context: click.Context, /, **flags: Any) -> None:
    """Caption a medical picture, offline, with the guideline passages that apply.

    A skin lesion (dermoscopy), fundus photograph or chest radiograph goes in; a structured
    caption, how sure it is, the passages with document, edition and page, and a record come out.

    Exit codes: 0 done; 1 the work failed; 2 usage or settings; 3 no release or index; 4 the
    audit log; 130 interrupted.
    """
    context.obj = load_config(os.environ, flags)


for command in (caption, lookup, guidelines, audit, release, config_command):
    main.add_command(command)


def run(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code. Nothing escapes but as one line and a code."""
    try:
        code = main.main(arguments, prog_name="appliance", standalone_mode=False)
        return code if isinstance(code, int) else 0
    except ApplianceError as exc:
        print_error(exc)
        return exc.exit_code
    except click.Abort:
        return INTERRUPTED
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # silence the flush at exit
        return 1
    except click.ClickException as exc:
        exc.show()
        return exc.exit_code
    except Exception:
        return _unforeseen()


def _unforeseen() -> int:
    """Keep the whole trace in a file, show one line with its path."""
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
    print_error(
        ApplianceError(
            f"something unforeseen happened ({kind.__name__ if kind else '?'}); {where}",
            "try again; if it stays, give that file to whoever looks after the appliance",
        )
    )
    return 1


def entry_point() -> None:
    sys.exit(run())
