"""`appliance cases`: what was kept of consultations, to come back to it."""

import json
import os
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import asdict, replace
from datetime import UTC
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from appliance.cli.diagnostics import print_note
from appliance.cli.guard import act
from appliance.cli.output import FOR_TRIAL, print_field, print_json, print_line, print_row
from appliance.config import Config
from appliance.core.answer import caption_to_show, is_for_trial, is_refusal
from appliance.core.cases import Case, Verdict, Wanted
from appliance.core.labels import DOMAINS
from appliance.errors import ConfigError

if TYPE_CHECKING:
    from appliance.edges.audit_db import AuditDatabase
    from appliance.edges.case_store import CaseStore

VERDICTS: dict[str, Verdict] = {"accept": "accepted", "correct": "corrected", "reject": "rejected"}
NEW_FILE = click.Path(path_type=Path)


def narrowing(command: Any) -> Any:
    """The options that say which cases."""
    for option in (
        click.option("--text", default="", help="In the path, reference, note or a label."),
        click.option("--decision", type=click.Choice(["label", "set", "abstain", "refused"])),
        click.option("--domain", type=click.Choice(DOMAINS)),
        click.option("--user", help="The account that asked."),
        click.option("--to", "until", metavar="TIME", help="Before."),
        click.option("--from", "since", metavar="TIME", help="Not before; UTC."),
    ):
        command = option(command)
    return command


@click.group()
def cases() -> None:
    """List, show, judge, read again, export and purge the cases that were kept."""


@cases.command("list")
@narrowing
@click.option("--last", type=click.IntRange(1, 1 << 31), default=20, show_default=True, metavar="N")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@act("case.read")
@click.pass_obj
def list_cases(config: Config, /, last: int, as_json: bool, **narrow: Any) -> None:
    """The newest cases, newest first."""
    from appliance.core.record import recorded

    wanted = _wanted(**narrow)
    with ExitStack() as stack:
        store, audit = _open(stack, config)
        with recorded(audit, "case.list", {}) as outcome:
            found = store.find(wanted, last)
            outcome["count"] = len(found)
    for case in found:
        if as_json:
            print_json(_summary(case))
        else:
            time = case.at.partition(".")[0].replace("T", " ")
            print_row((case.case_id, 16), (time, 19), (_said(case), 34), (_about(case), 0))


@cases.command("show")
@click.argument("case_id", metavar="ID")
@click.option("--picture", type=NEW_FILE, metavar="OUT.png", help="Write its picture there.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
@act("case.read")
@click.pass_obj
def show(config: Config, case_id: str, picture: Path | None, as_json: bool) -> None:
    """One case, whole."""
    from appliance.core.casework import open_case

    with ExitStack() as stack:
        store, audit = _open(stack, config)
        case = open_case(store, audit, case_id)
        png = store.png(case_id) if picture else None
    if picture and png is None:
        raise ConfigError(f"case {case_id} has no picture", "show it without --picture")
    if picture and png:
        _write_new(picture, png)
    if as_json:
        print_json(asdict(case))
        return
    print_line(f"{case_id}  {case.at}")
    for name, text in _fields(case):
        if text:
            print_field(name, text)


@cases.command("note")
@click.argument("case_id", metavar="ID")
@click.option("--reference", help="The clinic's own.")
@click.option("--note", "text", help="Anything to remember of it.")
@act("case.judge")
@click.pass_obj
def note(config: Config, case_id: str, reference: str | None, text: str | None) -> None:
    """Put a reference or a note to a case; neither is ever in the log."""
    from appliance.core.casework import annotate_case

    if reference is None and text is None:
        raise ConfigError("there is nothing to put to the case", "give --reference or --note")
    with ExitStack() as stack:
        store, audit = _open(stack, config)
        annotate_case(store, audit, case_id, reference=reference, note=text)
    print_line(f"{case_id}: kept")


@cases.command("judge")
@click.argument("case_id", metavar="ID")
@click.argument("verdict", type=click.Choice(list(VERDICTS)))
@click.option("--label", help="Corrected.")
@click.option("--image-type", help="Corrected.")
@click.option("--region", "anatomical_region", help="Corrected.")
@click.option("--findings", "key_findings", help="Corrected.")
@click.option("--significance", "clinical_significance", help="Corrected.")
@click.option("--caption", metavar="JSON", help="All that is corrected, as one object.")
@act("case.judge")
@click.pass_obj
def judge(
    config: Config, /, case_id: str, verdict: str, caption: str | None, **given: str | None
) -> None:
    """Accept a caption, correct it, or reject it. Correct it without names or numbers of patients:
    corrections may be exported to train on."""
    from appliance.core.casework import found_case, judge_case
    from appliance.wiring import labels_of_release

    corrected = _corrected(caption, given)
    if bool(corrected) != (verdict == "correct"):
        raise ConfigError(
            f"`{verdict}` with {'' if corrected else 'no '}corrected fields",
            "give fields with `correct`, and with it only",
        )
    with ExitStack() as stack:
        store, audit = _open(stack, config)
        release = found_case(store, case_id).answer["release"]
        labels = labels_of_release(config, release["sha256"]) if corrected else None
        judge_case(store, audit, labels, case_id, VERDICTS[verdict], corrected)
    print_line(f"{case_id}: {VERDICTS[verdict]}")


@cases.command("again")
@click.argument("case_id", metavar="ID")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
@act("case.read")
@click.pass_obj
def again(config: Config, case_id: str, as_json: bool) -> int:
    """Have the same release read the kept picture once more, and compare."""
    from appliance.core.casework import found_case, read_again
    from appliance.wiring import open_cases, open_consultation

    with open_cases(config) as store:
        release = found_case(store, case_id).answer["release"]["name"]
        with open_consultation(replace(config, release=release), lookup=False) as ports:
            found = read_again(store, ports.audit, ports.captioner, case_id)
    if as_json:
        print_json({"case": case_id, "same": found.is_same, **asdict(found)})
    else:
        same = "the same text" if found.is_same_text else "ANOTHER TEXT"
        print_line(f"{case_id}: {same}; probabilities differ by {found.largest_difference:.1e}")
    return 0 if found.is_same else 1


@cases.command("purge")
@click.option("--before", required=True, metavar="DATE", help="Those asked before it; UTC.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@act("case.purge")
@click.pass_obj
def purge(config: Config, before: str, yes: bool) -> None:
    """Forget cases for good. The log, which proves what was done, stays."""
    from appliance.core.record import recorded

    time = _time(before)
    if not yes:
        click.confirm(f"Forget all cases asked before {time}?", abort=True, err=True)
    with ExitStack() as stack:
        store, audit = _open(stack, config)
        with recorded(audit, "case.purge", {"before": time}) as outcome:
            outcome |= {"before": time, "count": store.purge(time)}
    print_line(f"cases forgotten: {outcome['count']}")


@cases.command("export")
@click.argument("out", type=NEW_FILE)
@narrowing
@act("case.export")
@click.pass_obj
def export(config: Config, /, out: Path, **narrow: Any) -> None:
    """Write whole cases, with paths, references and notes, to the new folder OUT."""
    from appliance.core.record import recorded
    from appliance.edges.case_export import export_cases

    wanted = _wanted(**narrow)
    with ExitStack() as stack:
        store, audit = _open(stack, config)
        with recorded(audit, "case.export", {}) as outcome:
            outcome["count"] = export_cases(store, out, wanted)
    print_line(f"cases in {out}: {outcome['count']}")
    print_note("they name patients and are not encrypted: keep the folder as you keep the box")


@cases.command("corrections")
@click.argument("out", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
@act("correction.export")
@click.pass_obj
def corrections(config: Config, out: Path, as_json: bool) -> None:
    """Write judged cases to a new folder in OUT, as a shard to train on: pictures and captions
    without path, note, reference, user or day."""
    from appliance.core.record import recorded
    from appliance.edges.case_export import export_corrections
    from appliance.wiring import labels_of_release

    with ExitStack() as stack:
        store, audit = _open(stack, config)
        with recorded(audit, "correction.export", {}) as outcome:
            shard = export_corrections(store, out, lambda sha256: labels_of_release(config, sha256))
            counts = {key: value for key, value in asdict(shard).items() if key != "folder"}
            outcome.update(counts)
    if as_json:
        print_json({**counts, "folder": str(shard.folder)})
        return
    print_line(
        f"{shard.folder}: {shard.accepted} accepted, {shard.corrected} corrected,"
        f" {shard.rejected} rejected, {shard.left_out} left out because they show text"
    )
    if shard.not_searched:
        print_note(
            f"in {shard.not_searched} pictures no text was looked for: look at them before they"
            " leave the clinic"
        )


def _open(stack: ExitStack, config: Config) -> "tuple[CaseStore, AuditDatabase]":
    from appliance.wiring import open_audit, open_cases

    store = stack.enter_context(open_cases(config))
    return store, stack.enter_context(open_audit(config))


def _wanted(since: str | None, until: str | None, **narrow: Any) -> Wanted:
    return Wanted(since and _time(since), until and _time(until), **narrow)


def _time(text: str) -> str:
    """As the log writes times, so that they compare as texts. Raises: ConfigError."""
    from appliance.audit_export.selection import read_time

    return read_time(text).astimezone(UTC).isoformat(timespec="milliseconds")


def _corrected(caption: str | None, given: Mapping[str, str | None]) -> dict[str, str]:
    fields = {name: text for name, text in given.items() if text is not None}
    if caption is None:
        return fields
    try:
        whole = json.loads(caption)
    except json.JSONDecodeError as exc:
        raise ConfigError(f"not JSON: {exc}", 'write {"label": "..."}') from exc
    if not isinstance(whole, dict):
        raise ConfigError("the caption is no JSON object", 'write {"label": "..."}')
    return {**whole, **fields}


def _summary(case: Case) -> dict[str, Any]:
    answer = case.answer
    caption = caption_to_show(answer)
    return {
        "case": case.case_id,
        "at": case.at,
        "user": case.user,
        "path": answer["image"]["path"],
        "reference": case.reference,
        "domain": answer["domain"],
        "decision": answer["decision"],
        "label": caption and caption["label"],
        "verdict": case.verdict,
        "audit": answer["audit"],
        "error": answer["error"] and answer["error"]["code"],
    }


def _said(case: Case) -> str:
    decision, error = case.answer["decision"], case.answer["error"]
    if error is not None:
        return f"{'refused' if is_refusal(error['code']) else 'failed'}: {error['code']}"
    return ": ".join(filter(None, [decision["kind"], ", ".join(decision["labels"])]))


def _about(case: Case) -> str:
    name = Path(case.answer["image"]["path"]).name
    return " - ".join(filter(None, [case.verdict, case.reference, name]))


def _fields(case: Case) -> list[tuple[str, str]]:
    answer = case.answer
    caption, release = caption_to_show(answer) or {}, answer["release"]
    corrected = ", ".join(
        text for name, text in (case.corrected or {}).items() if text != caption.get(name)
    )
    return [
        ("path", answer["image"]["path"]),
        ("reference", case.reference),
        ("note", case.note),
        ("asked by", case.user),
        ("decision", _said(case)),
        ("caption", FOR_TRIAL if is_for_trial(answer) else ""),
        ("label", caption.get("label", "")),
        ("findings", caption.get("key_findings", "")),
        ("significance", caption.get("clinical_significance", "")),
        ("first reader", case.impression),
        ("verdict", case.verdict or ""),
        ("corrected", corrected),
        ("release", f"{release['name']} ({release['sha256'][:12]})"),
        ("record", f"entry {answer['audit']['seq']} ({answer['audit']['hash'][:12]})"),
    ]


def _write_new(path: Path, content: bytes) -> None:
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(content)
    except OSError as exc:
        raise ConfigError(
            f"the picture cannot be written ({exc.strerror}): {path}", "give the name of a new file"
        ) from exc
