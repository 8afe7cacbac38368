"""`appliance audit`: the record of what was done."""

import click

from appliance.cli.output import print_json, print_line, print_row
from appliance.config import Config
from appliance.errors import AuditError, ConfigError


@click.group()
def audit() -> None:
    """List, show and verify the audit log."""


@audit.command("list")
@click.option("--last", type=click.IntRange(1, 1 << 31), default=20, show_default=True, metavar="N")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@click.pass_obj
def list_entries(config: Config, last: int, as_json: bool) -> None:
    """The newest entries, oldest first."""
    from appliance.wiring import open_audit

    with open_audit(config) as log:
        for entry in log.entries(last):
            if as_json:
                print_json(vars(entry))
            else:
                time = entry.at.partition(".")[0].replace("T", " ")
                print_row(
                    (f"{entry.seq:>6}", 6), (time, 19), (entry.kind, 18), (summary(entry.body), 0)
                )


@audit.command("show")
@click.argument("seq", type=click.IntRange(1, (1 << 63) - 1))
@click.pass_obj
def show(config: Config, seq: int) -> None:
    """One entry, whole, as JSON."""
    from appliance.wiring import open_audit

    with open_audit(config) as log:
        entry = log.get(seq)
    if entry is None:
        raise ConfigError(f"no entry {seq} in the log", "run `appliance audit list`")
    print_json(vars(entry))


@audit.command("verify")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
@click.pass_obj
def verify(config: Config, as_json: bool) -> int:
    """Check every entry and its link to the one before.

    It cannot see entries cut off the end, nor a log rewritten whole.
    """
    from appliance.wiring import open_audit

    with open_audit(config) as log:
        fault = log.fault()
        newest = next(log.entries(1), None)
    if as_json:
        entries = newest.seq if newest else 0
        print_json({"entries": entries, "newest": newest and newest.hash, "fault": fault})
    elif fault:
        raise AuditError(
            f"the audit log is broken: {fault}",
            "keep the file as it is and tell the person who keeps the log",
        )
    elif newest:
        print_line(f"{newest.seq} entries, whole; newest {newest.hash[:12]}")
    else:
        print_line("the log is empty")
    return AuditError.exit_code if fault else 0


def summary(body: object) -> str:
    """The few words of an entry's body that a list has room for."""
    if not isinstance(body, dict):
        return ""
    decision = body.get("decision") or {}
    if decision:
        return ": ".join(filter(None, (decision["kind"], ", ".join(decision["labels"]))))
    return str(body.get("error") or body.get("document") or "")
