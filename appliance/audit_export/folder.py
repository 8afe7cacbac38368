"""The folder of an export: the entries in one of three forms, and all that proves them.

    entries.jsonl        one entry's canonical text a line, or
    entries.csv          a table, or
    bundle.json          a FHIR R4 Bundle of AuditEvent resources
    proofs.jsonl         for each entry, in the same order, that it is in the log
    export.json          the log's public key, the checkpoint, proofs that earlier ones still hold
    checkpoint           the same checkpoint as a file of its own
    verify_export.py     checks all of it; needs Python and `cryptography`, nothing of ours

That an entry is in the log is proved; that no entry was left out only for an export of the whole.
"""

import base64
import csv
import itertools
import json
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal, Protocol

from appliance.audit_export.fhir import bundle_entry
from appliance.audit_export.selection import Selection
from appliance.audit_export.table import COLUMNS, table_row
from appliance.core.checkpoint import Checkpoint, read_checkpoint, short_code, verifier_key
from appliance.core.entry import Entry
from appliance.core.log_check import Row, entry_in
from appliance.core.ports import AuditLog
from appliance.core.record import recorded
from appliance.errors import ApplianceError, ConfigError
from appliance.private_files import sync_file, sync_folder

Form = Literal["jsonl", "csv", "fhir"]
FILES: Mapping[Form, str] = {"jsonl": "entries.jsonl", "csv": "entries.csv", "fhir": "bundle.json"}
LEFT_THE_MACHINE = ("export", "shown", "archive")
"""Why a checkpoint was made that somebody outside may hold."""
PROVED_AT_ONCE = 1000
"""Entries: the log is waited for once for so many."""


class ProvenLog(AuditLog, Protocol):
    """What an export needs of a log."""

    origin: str
    public_key: bytes

    def sign(self, why: str) -> str: ...
    def rows(self, first: int = ..., last: int | None = ...) -> Iterator[Row]: ...
    def inclusions(self, seqs: Sequence[int], size: int) -> list[list[bytes]]: ...
    def consistency(self, old: int, new: int) -> list[bytes]: ...
    def witnessed(self, reasons: Sequence[str]) -> list[str]: ...


@dataclass(frozen=True)
class Export:
    folder: Path
    entries: int
    size: int
    """Of the log when it was exported."""
    code: str
    """Of its checkpoint, for the register."""


def export_log(log: ProvenLog, out: Path, form: Form, selection: Selection) -> Export:
    """Write what is selected to the new folder `out`, and record it first.

    Raises: ConfigError when `out` is there, AuditError, ApplianceError when it cannot be written.
    """
    refuse_what_is_there(out)
    asked = {"form": form, "selection": selection.as_json(with_user=False)}
    with _new_folder(out) as partial:
        with recorded(log, "log.export", asked) as outcome, _writing(out):
            note = log.sign("export")
            checkpoint = read_checkpoint(note)
            count = write_export(
                partial, log, note, form, log.rows(last=checkpoint.size), selection
            )
            outcome |= {"entries": count, "size": checkpoint.size, "code": short_code(checkpoint)}
            outcome["selection"] = selection.as_json(with_user=count > 0)
        with _writing(out):
            partial.rename(out)
            sync_folder(out.absolute().parent)
    return Export(out, count, checkpoint.size, short_code(checkpoint))


def refuse_what_is_there(out: Path) -> None:
    """Raises: ConfigError."""
    if out.exists():
        raise ConfigError(f"it is there already: {out}", "name a folder that does not exist yet")


def write_export(
    folder: Path, log: ProvenLog, note: str, form: Form, rows: Iterable[Row], selection: Selection
) -> int:
    """Fill an empty folder, to the disk; how many entries it holds. Raises: OSError, AuditError."""
    checkpoint = read_checkpoint(note)
    count = 0

    def selected() -> Iterator[tuple[Entry, bytes]]:
        nonlocal count
        with _private(folder / "proofs.jsonl") as proofs:
            chosen = _chosen(rows, selection)
            while several := list(itertools.islice(chosen, PROVED_AT_ONCE)):
                count += len(several)
                seqs = [entry.seq for entry, _ in several]
                for seq, proof in zip(seqs, log.inclusions(seqs, checkpoint.size), strict=True):
                    proofs.write(json.dumps({"seq": seq, "proof": _encoded(proof)}) + "\n")
                yield from several

    with _private(folder / FILES[form]) as file:
        _WRITERS[form](file, selected(), checkpoint)
    about = {
        "form": form,
        "entries": count,
        "selection": selection.as_json(with_user=count > 0),
        "key": verifier_key(log.origin, log.public_key),
        "checkpoint": note,
        "earlier": [_earlier(log, old, checkpoint) for old in log.witnessed(LEFT_THE_MACHINE)],
    }
    with _private(folder / "export.json") as file:
        json.dump(about, file, indent=1)
    with _private(folder / "checkpoint") as file:
        file.write(note)
    shutil.copyfile(Path(__file__).parent / "verify_export.py", folder / "verify_export.py")
    for path in folder.iterdir():  # the stick may be pulled out
        sync_file(path)
    sync_folder(folder)
    return count


def _chosen(rows: Iterable[Row], selection: Selection) -> Iterator[tuple[Entry, bytes]]:
    for row in rows:
        entry = entry_in(row)
        if row.text is None or entry is None:
            continue  # its archive, which proves it, is elsewhere
        if selection.holds(entry):
            yield entry, row.text


def _earlier(log: ProvenLog, note: str, newest: Checkpoint) -> dict[str, Any]:
    old = read_checkpoint(note)
    return {"checkpoint": note, "proof": _encoded(log.consistency(old.size, newest.size))}


def _write_lines(
    file: IO[str], entries: Iterator[tuple[Entry, bytes]], checkpoint: Checkpoint
) -> None:
    for _, text in entries:
        file.write(text.decode() + "\n")


def _write_table(
    file: IO[str], entries: Iterator[tuple[Entry, bytes]], checkpoint: Checkpoint
) -> None:
    file.write("\N{BYTE ORDER MARK}")  # or a spreadsheet does not read UTF-8
    writer = csv.writer(file)
    writer.writerow(COLUMNS)
    for entry, text in entries:
        writer.writerow(table_row(entry, text))


def _write_bundle(
    file: IO[str], entries: Iterator[tuple[Entry, bytes]], checkpoint: Checkpoint
) -> None:
    file.write('{"resourceType": "Bundle", "type": "collection", "entry": [')
    separator = "\n"
    for entry, text in entries:
        file.write(separator + json.dumps(bundle_entry(entry, text, checkpoint.origin)))
        separator = ",\n"
    file.write("\n]}\n")


_WRITERS: Mapping[Form, Callable[[IO[str], Iterator[tuple[Entry, bytes]], Checkpoint], None]] = {
    "jsonl": _write_lines,
    "csv": _write_table,
    "fhir": _write_bundle,
}


def _encoded(proof: Sequence[bytes]) -> list[str]:
    return [base64.b64encode(one).decode() for one in proof]


@contextmanager
def _new_folder(out: Path) -> Iterator[Path]:
    """An empty folder beside `out`, 0700; removed unless it was renamed."""
    with _writing(out):
        partial = Path(tempfile.mkdtemp(dir=out.absolute().parent, prefix=".export-"))
    try:
        yield partial
    finally:
        shutil.rmtree(partial, ignore_errors=True)


@contextmanager
def _writing(out: Path) -> Iterator[None]:
    try:
        yield
    except OSError as exc:
        raise ApplianceError(
            f"the export cannot be written ({exc.strerror or exc}): {out}",
            "check that the folder above it is there, can be written and has room",
            code="export",
        ) from exc


def _private(path: Path) -> IO[str]:
    path.touch(mode=0o600)
    return path.open("w", encoding="utf-8", newline="")
