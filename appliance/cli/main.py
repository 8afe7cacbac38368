"""`appliance`: the group of all verbs, settings, and where errors become exit codes."""

import os
import sys
from collections.abc import Sequence
from typing import Any

import click

from appliance import __version__
from appliance.cli.atlas import atlas
from appliance.cli.audit import audit
from appliance.cli.backup import backup, restore
from appliance.cli.caption import caption
from appliance.cli.cases import cases
from appliance.cli.check import check
from appliance.cli.diagnostics import print_error
from appliance.cli.doctor import doctor
from appliance.cli.faults import keep_fault
from appliance.cli.guidelines import guidelines, lookup
from appliance.cli.kit import kit
from appliance.cli.release import release
from appliance.cli.settings import config as config_command
from appliance.cli.tui import is_terminal, tui
from appliance.cli.users import users
from appliance.config import load_config
from appliance.errors import ApplianceError

INTERRUPTED = 130


@click.group(context_settings={"help_option_names": ["-h", "--help"]}, invoke_without_command=True)
@click.version_option(__version__, prog_name="appliance")
@click.option("--release", metavar="NAME", help="Model release to use.")
@click.option("--threads", type=int, metavar="N", help="Threads (0: what suits the release).")
@click.option("--risk", type=float, metavar="SHARE", help="Of sets that may lack the true label.")
@click.pass_context
def main(context: click.Context, /, **flags: Any) -> int:
    """Caption a medical picture, offline, with the guideline passages that apply.

    A skin lesion (dermoscopy), fundus photograph or chest radiograph goes in; a structured
    caption, how sure it is, the passages with document, edition and page, and a record come out.

    Exit codes: 0 done; 1 the work failed; 2 usage or settings; 3 no release or index; 4 the
    audit log; 130 interrupted. Without a command, on a terminal, the screen opens.
    """
    context.obj = load_config(os.environ, flags)
    if context.invoked_subcommand is None:
        if not is_terminal():
            raise click.exceptions.NoArgsIsHelpError(context)
        return int(context.invoke(tui))
    return 0


for command in (
    caption,
    cases,
    check,
    lookup,
    guidelines,
    atlas,
    audit,
    release,
    users,
    config_command,
    doctor,
    backup,
    restore,
    kit,
    tui,
):
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
        print_error(keep_fault())
        return 1


def entry_point() -> None:
    if sys.stdout is None:  # closed by the caller: what is shown must be seen
        sys.exit("error: standard output is closed\nhint: run the command with its output open")
    sys.exit(run())
