"""`appliance audit`: the record of what was done, and what proves it."""

from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from appliance.cli.diagnostics import print_note
from appliance.cli.guard import act
from appliance.cli.output import print_drawing, print_json, print_line, print_row
from appliance.config import Config
from appliance.errors import AuditError, ConfigError

if TYPE_CHECKING:
    from appliance.core.entry import Entry
    from appliance.edges.audit_reader import Verification

RETENTION_YEARS = 6
"""How long entries stay in the database: HIPAA, 45 CFR 164.316(b)(2)(i)."""

TOLD = ("error", "document", "set", "account", "act", "role", "command", "version")
"""Of an entry's body, what a list shows."""

log_option = click.option(
    "--log",
    "folder",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Read the log in this folder instead, for example one set aside.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="One JSON object.")
yes_option = click.option("--yes", is_flag=True, help="Do not ask.")


@click.group()
def audit() -> None:
    """List, show, prove, export and keep the audit log."""


@audit.command("list")
@click.option("--last", type=click.IntRange(1, 1 << 31), default=20, show_default=True, metavar="N")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@log_option
@act("log.read")
@click.pass_obj
def list_entries(config: Config, last: int, as_json: bool, folder: Path | None) -> None:
    """The newest entries, oldest first. That they were read is recorded, too."""
    from appliance.core.record import recorded
    from appliance.wiring import read_audit, record_of_reading

    with ExitStack() as stack:
        log = stack.enter_context(read_audit(config, folder))
        size = log.size()
        if own := record_of_reading(config, folder):
            asked = {"log": log.origin, "view": "list", "last": last}
            stack.enter_context(recorded(stack.enter_context(own), "log.read", asked))
        for entry in log.entries(size - last + 1, size):
            if as_json:
                print_json(vars(entry))
            else:
                time = entry.at.partition(".")[0].replace("T", " ")
                print_row((f"{entry.seq:>6}", 6), (time, 19), (entry.kind, 18), (summary(entry), 0))


@audit.command("show")
@click.argument("seq", type=click.IntRange(1, (1 << 63) - 1))
@log_option
@act("log.read")
@click.pass_obj
def show(config: Config, seq: int, folder: Path | None) -> None:
    """One entry, whole, as JSON. That it was read is recorded, too."""
    from appliance.core.record import recorded
    from appliance.wiring import read_audit, record_of_reading

    with ExitStack() as stack:
        log = stack.enter_context(read_audit(config, folder))
        entry = log.get(seq)
        if own := record_of_reading(config, folder):
            asked = {"log": log.origin, "view": "show", "entry": seq}
            stack.enter_context(recorded(stack.enter_context(own), "log.read", asked))
        if entry is None:
            raise ConfigError(f"no entry {seq} in the log", "run `appliance audit list`")
        print_json(vars(entry))


@audit.command("verify")
@click.option(
    "--checkpoint",
    "checkpoints",
    multiple=True,
    metavar="FILE|CODE",
    help="An old checkpoint, as a file or as the code in the register; may be given often.",
)
@log_option
@json_option
@act("log.read")
@click.pass_obj
def verify(config: Config, checkpoints: tuple[str, ...], folder: Path | None, as_json: bool) -> int:
    """Prove every entry against every checkpoint, and name the first bad one.

    What it cannot see: of what no checkpoint outside this machine covers, whoever may write to the
    log's folder can cut off the newest entries, or put another log in its place, with another name
    and key; whoever may also read signing.key can rewrite it. So write down the key and the code of
    `audit checkpoint` on paper, or keep exports elsewhere, and hand them in with --checkpoint. Nor
    does it show that an entry was true when it was written. The verification and its result are
    recorded, unless the log is too damaged to be written to.
    """
    from appliance.core.record import recorded
    from appliance.wiring import read_audit, record_of_reading

    with ExitStack() as stack:
        log = stack.enter_context(read_audit(config, folder))
        outcome: dict[str, Any] = {}
        try:
            if own := record_of_reading(config, folder):
                asked = {"log": log.origin, "checkpoints": len(checkpoints)}
                outcome = stack.enter_context(
                    recorded(stack.enter_context(own), "log.verify", asked)
                )
        except AuditError as exc:  # what is damaged must be looked at all the same
            print_note(f"this verification is not recorded: {exc.message}")
        found = log.verify([log.witness(given) for given in checkpoints])
        said = verification_json(found)
        told = ("entries", "first_bad", "covered", "archived", "absent")
        outcome |= {key: said[key] for key in told}
    if as_json:
        print_json(said)
    elif found.fault:
        raise AuditError(
            f"the audit log is broken: {found.fault}",
            "keep the folder as it is and tell the person who keeps the log; `appliance audit"
            " set-aside` begins a new one that names it",
        )
    else:
        newest = found.newest.hash[:12] if found.newest else "archived"
        print_line(f"{found.entries} entries, whole; newest {newest}")
        print_line(f"{found.checkpoints} checkpoints fit; the newest covers entry {found.covered}")
        if found.archived:
            absent = f"; {found.absent} of their texts are not here" if found.absent else ""
            print_line(f"entries 1 to {found.archived} are archived{absent}")
    return AuditError.exit_code if found.fault else 0


def verification_json(found: "Verification") -> dict[str, Any]:
    """The contract of `verify --json`: all keys always there."""
    fault = found.fault
    return {
        "entries": found.entries,
        "newest": found.newest and found.newest.hash,
        "fault": fault and str(fault),
        "first_bad": [fault.first, fault.last] if fault else None,
        "checkpoints": found.checkpoints,
        "covered": found.covered,
        "archived": found.archived,
        "absent": found.absent,
    }


@audit.command("checkpoint")
@click.option("--key", "only_key", is_flag=True, help="Print the log's public key, and no more.")
@click.option("--qr", is_flag=True, help="Draw the checkpoint as a QR code, too.")
@json_option
@act("log.checkpoint")
@click.pass_obj
def checkpoint(config: Config, only_key: bool, qr: bool, as_json: bool) -> None:
    """Sign the log as it stands, and show the code for the paper register.

    The code has 120 bits: nobody can make another log that it fits, not even by preparing two
    logs beforehand. The key is to be written down once, when the appliance is installed.
    """
    from appliance.core.checkpoint import read_checkpoint, short_code, verifier_key
    from appliance.wiring import open_audit, read_audit

    if only_key:
        with read_audit(config) as log:
            print_line(verifier_key(log.origin, log.public_key))
        return
    with open_audit(config) as log:
        note = log.sign("shown")
        key = verifier_key(log.origin, log.public_key)
    code = short_code(read_checkpoint(note))
    if as_json:
        print_json({"checkpoint": note, "code": code, "key": key})
        return
    for line in note.splitlines():
        print_line(line)
    print_line()
    print_line(f"for the register: {code}")
    if qr:
        print_drawing(qr_lines(note))


@audit.command("export")
@click.argument("out", type=click.Path(path_type=Path))
@click.option(
    "--format", "form", type=click.Choice(["jsonl", "csv", "fhir"]), default="jsonl",
    show_default=True, help="JSON Lines, a table, or FHIR R4 AuditEvent resources.",
)  # fmt: skip
@click.option("--from", "since", metavar="TIME", help="Not before; UTC unless it says otherwise.")
@click.option("--to", "until", metavar="TIME", help="Before.")
@click.option("--kind", "kinds", multiple=True, help="Of entry; `caption` takes all of an act.")
@click.option("--user", help="The account that acted.")
@click.option("--image-hash", metavar="SHA256", help="Of the image's file, as `caption` gives it.")
@json_option
@act("log.export")
@click.pass_obj
def export(
    config: Config,
    out: Path,
    form: Any,
    since: str | None,
    until: str | None,
    kinds: tuple[str, ...],
    user: str | None,
    image_hash: str | None,
    as_json: bool,
) -> None:
    """Write entries to the new folder OUT, with all that proves them.

    The folder holds a signed checkpoint, a proof for each entry, and verify_export.py, which needs
    only Python and the `cryptography` package.
    """
    from appliance.audit_export.folder import export_log, refuse_what_is_there
    from appliance.audit_export.selection import Selection, known_kinds, read_time
    from appliance.wiring import open_audit

    selection = Selection(
        since=read_time(since) if since else None,
        until=read_time(until) if until else None,
        kinds=known_kinds(kinds),
        user=user,
    )
    refuse_what_is_there(out)
    with open_audit(config) as log:
        if image_hash:
            selection = replace(selection, image=log.image_mark(image_hash.lower()))
        done = export_log(log, out, form, selection)
    if as_json:
        print_json({**vars(done), "folder": str(done.folder)})
        return
    print_line(f"{done.entries} of {done.size} entries in {done.folder}")
    print_line(f"for the register: {done.code}")


@audit.command("archive")
@click.option("--years", type=click.IntRange(1, 100), default=RETENTION_YEARS, show_default=True)
@yes_option
@act("log.keep")
@click.pass_obj
def archive(config: Config, years: int, yes: bool) -> None:
    """Move entries older than --years from the database to a folder that proves itself."""
    from appliance.wiring import archive_audit

    now = datetime.now(UTC)
    before = now.replace(year=now.year - years, day=min(now.day, 28))
    if not yes:
        click.confirm(f"Archive the entries older than {before:%Y-%m-%d}?", abort=True, err=True)
    archived = archive_audit(config, before)
    if archived is None:
        print_line(f"no entry is older than {before:%Y-%m-%d}")
        return
    print_line(f"entries {archived.first} to {archived.last} are in {archived.folder}")


@audit.command("set-aside")
@yes_option
@act("log.keep")
@click.pass_obj
def set_aside(config: Config, yes: bool) -> None:
    """Keep a damaged log as it is, and begin a new one whose first entry names it."""
    from appliance.wiring import set_audit_aside

    if not yes:
        click.confirm("Set the log aside and begin a new one?", abort=True, err=True)
    place = set_audit_aside(config)
    print_line(f"the log is in {place}; a new one has begun")
    print_note("tell the person who keeps the log, and write down the code of `audit checkpoint`")


@audit.command("new-key")
@yes_option
@act("key.change")
@click.pass_obj
def new_key(config: Config, yes: bool) -> None:
    """Sign with another key from now on, for example when somebody may have read the old one.

    The log ends; the next one's first entry names it and its last checkpoint. The old key is
    deleted: what it signed can still be proved, and nothing more can be signed with it here.
    """
    from appliance.wiring import change_signing_key

    if not yes:
        click.confirm("End the log and begin one with another key?", abort=True, err=True)
    place, key = change_signing_key(config)
    print_line(f"the old log is in {place}")
    print_line(f"the new key: {key}")
    print_note("write the new key down where the old one stands")


def summary(entry: "Entry") -> str:
    """The few words of an entry that a list has room for."""
    body = entry.body
    decision = body.get("decision") or {}
    said = [entry.user and f"[{entry.user}]"]
    if decision:
        said += [f"{decision['kind']}:", ", ".join(decision["labels"])]
    else:
        said += [str(body.get(name) or "") for name in TOLD]
        said += body.get("changed") or []
    return " ".join(filter(None, said))


def qr_lines(text: str) -> Iterable[str]:
    """A QR code for a dark terminal, two rows of it a line."""
    import segno

    rows = [list(row) for row in segno.make(text, micro=False).matrix_iter(border=4)]
    if len(rows) % 2:
        rows.append([0] * len(rows[0]))
    for upper, lower in zip(rows[::2], rows[1::2], strict=True):
        yield "".join(
            " ▀▄█"[(not top) + 2 * (not bottom)] for top, bottom in zip(upper, lower, strict=True)
        )
