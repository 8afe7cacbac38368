"""Exports: what they hold, that they prove themselves, and that a changed one does not."""

import csv
import itertools
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from fhir.resources.R4B.auditevent import AuditEvent
from fhir.resources.R4B.bundle import Bundle

from appliance.audit_export.fhir import ACTS, audit_event
from appliance.audit_export.folder import Export, Form, export_log
from appliance.audit_export.selection import Selection, read_time
from appliance.audit_export.verify_export import says
from appliance.core.entry import Moment, entry_text, read_entry
from appliance.core.kinds import PHASES, RECORDED
from appliance.edges.audit_db import AuditDatabase
from appliance.errors import ApplianceError, AuditError, ConfigError

MARK = "ef" * 32
KINDS = (
    *("caption.asked", "caption.answered", "lookup.asked", "lookup.done"),
    *("lookup.failed", "guideline.add.asked", "guideline.add.done"),
    *("guideline.remove.asked", "guideline.remove.done", "caption.interrupted"),
    *("crash.found", "log.archive.done", "user.signin.failed", "release.activated"),
    *("start", "stop"),
)
FORMULA = '=HYPERLINK("http://x")'


class Hourly:
    """A clock that is an hour later each time it is asked."""

    def __init__(self, hour: int) -> None:
        self.hours = itertools.count(hour)

    def __call__(self) -> Moment:
        hour = next(self.hours)
        at = datetime(2026, 1, 1 + hour // 24, hour % 24, tzinfo=UTC)
        return Moment(at.isoformat(timespec="milliseconds"), "boot", hour * 3_600_000)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made") / "log"
    with AuditDatabase(folder, Hourly(0), "siti") as database:
        for kind in KINDS:
            database.append(kind, {"error": None})
        body = {"image": MARK, "release": "ab" * 32, "decision": {"kind": "set"}, "error": FORMULA}
        database.append("caption.answered", body)
    return folder


@pytest.fixture
def log(made: Path, tmp_path: Path) -> Iterator[AuditDatabase]:
    shutil.copytree(made, tmp_path / "log")
    with AuditDatabase(tmp_path / "log", Hourly(48), "siti") as database:
        yield database


def proved(folder: Path, *arguments: str) -> tuple[int, str]:
    """The verifier inside the export, with nothing of ours: isolated, in that folder."""
    done = subprocess.run(
        [sys.executable, "-I", folder / "verify_export.py", *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
    )
    return done.returncode, done.stdout + done.stderr


def exported(log: AuditDatabase, out: Path, form: Form, **selected: Any) -> Export:
    return export_log(log, out, form, Selection(**selected))


@pytest.mark.parametrize("form", ["jsonl", "csv", "fhir"])
def test_an_export_proves_itself(log: AuditDatabase, tmp_path: Path, form: Form) -> None:
    done = exported(log, tmp_path / "out", form)
    assert done.entries == done.size == len(KINDS) + 3
    code, said = proved(done.folder)
    assert code == 0 and "all of it" in said
    newest = list(log.entries())[-1]
    assert newest.kind == "log.export.done" and newest.body["entries"] == done.entries


def test_the_verifier_imports_nothing_of_ours(log: AuditDatabase, tmp_path: Path) -> None:
    done = exported(log, tmp_path / "out", "jsonl")
    script = (
        "import sys, runpy\n"
        "class No:\n"
        "    def find_spec(self, name, *rest):\n"
        "        if name.split('.')[0] not in sys.stdlib_module_names | {'cryptography',"
        " '_cffi_backend'}: raise ImportError(name)\n"
        "sys.meta_path.insert(0, No())\n"
        "sys.argv = [sys.argv[1]]\n"
        "runpy.run_path(sys.argv[0], run_name='__main__')\n"
    )
    ran = subprocess.run(
        [sys.executable, "-I", "-c", script, done.folder / "verify_export.py"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0 and ran.stdout.endswith("PROVED\n"), ran.stderr


def test_an_old_checkpoint_is_proved_or_refused(log: AuditDatabase, tmp_path: Path) -> None:
    first = exported(log, tmp_path / "first", "jsonl")
    old = first.folder / "checkpoint"
    log.append("act", {})
    unseen = tmp_path / "unseen"
    unseen.write_text(log.sign("closed"))
    log.append("act", {})
    part = exported(log, tmp_path / "part", "jsonl", kinds=("caption",))
    assert proved(part.folder, "--checkpoint", str(old))[0] == 0
    assert "ask for one of the whole" in proved(part.folder, "--checkpoint", str(unseen))[1]
    whole = exported(log, tmp_path / "whole", "jsonl")
    assert proved(whole.folder, "--checkpoint", str(old), "--checkpoint", str(unseen))[0] == 0
    with AuditDatabase(tmp_path / "other", lambda: Moment("2026-01-01T00:00:00Z", "", 0)) as other:
        foreign = tmp_path / "foreign"
        foreign.write_text(other.sign("shown"))
    assert proved(whole.folder, "--checkpoint", str(foreign))[0] == 1
    assert proved(whole.folder, "--key", "another+00000000+AQ==")[0] == 1


def replaced(old: str, new: str) -> Callable[[str], str]:
    def change(text: str) -> str:
        assert old in text
        return text.replace(old, new, 1)

    return change


def without_last_line(text: str) -> str:
    return text.rstrip("\n").rpartition("\n")[0] + "\n"


def last_line_twice(text: str) -> str:
    return text + text.rstrip("\n").rpartition("\n")[2] + "\n"


@pytest.mark.parametrize(
    ("form", "file", "change"),
    [
        ("jsonl", "entries.jsonl", replaced("lookup.failed", "lookup.done")),
        ("jsonl", "entries.jsonl", without_last_line),
        ("jsonl", "entries.jsonl", last_line_twice),
        ("jsonl", "proofs.jsonl", without_last_line),
        ("jsonl", "proofs.jsonl", replaced('"seq": 3', '"seq": 4')),
        ("jsonl", "export.json", replaced('"entries": 19', '"entries": 18')),
        ("jsonl", "export.json", replaced("\\n19\\n", "\\n18\\n")),
        ("jsonl", "export.json", replaced("+", "+0")),
        ("csv", "entries.csv", replaced("siti,lookup.failed", "ali,lookup.failed")),
        ("csv", "entries.csv", replaced(MARK, MARK.replace("e", "d"))),
        ("csv", "entries.csv", replaced(",set,", ",label,")),
        ("fhir", "bundle.json", replaced('"recorded": "2026-01-01', '"recorded": "2025-01-01')),
        ("fhir", "bundle.json", replaced('"value": "siti"', '"value": "ali"')),
        ("fhir", "bundle.json", replaced("lookup.failed", "lookup.done")),
        ("fhir", "bundle.json", lambda text: "{}"),
    ],
)
def test_a_changed_export_is_not_proved(
    log: AuditDatabase, tmp_path: Path, form: Form, file: str, change: Callable[[str], str]
) -> None:
    done = exported(log, tmp_path / "out", form)
    path = done.folder / file
    path.write_text(change(path.read_text(encoding="utf-8")), encoding="utf-8")
    code, said = proved(done.folder)
    assert code == 1 and "NOT PROVED" in said and "Traceback" not in said


def its_outcome(event: dict[str, Any]) -> None:
    event |= {"outcome": "0", "outcomeDesc": "done"}


def its_words(event: dict[str, Any]) -> None:
    event["outcomeDesc"] = "done"


def a_second_person(event: dict[str, Any]) -> None:
    [user] = [agent for agent in event["agent"] if agent["requestor"]]
    other = {"identifier": {**user["who"]["identifier"], "value": "ali"}}
    event["agent"].append({"who": other, "requestor": False})


def a_person_without_an_identifier(event: dict[str, Any]) -> None:
    event["agent"][0]["who"] = {"display": "ali"}


def the_appliance_asked(event: dict[str, Any]) -> None:
    for agent in event["agent"]:
        agent["requestor"] = not agent["requestor"]


def its_image(event: dict[str, Any]) -> None:
    event["entity"][0]["what"]["identifier"]["value"] = "cd" * 32


def no_release(event: dict[str, Any]) -> None:
    del event["entity"][1]


@pytest.mark.parametrize(
    ("place", "change"),
    [
        (KINDS.index("user.signin.failed") + 1, its_outcome),
        (KINDS.index("caption.interrupted") + 1, its_words),
        (KINDS.index("caption.asked") + 1, its_outcome),
        (KINDS.index("lookup.done") + 1, a_second_person),
        (KINDS.index("lookup.done") + 1, a_person_without_an_identifier),
        (KINDS.index("lookup.done") + 1, the_appliance_asked),
        (len(KINDS) + 1, its_image),
        (len(KINDS) + 1, no_release),
    ],
)
def test_a_resource_that_says_more_or_other_than_its_entry_is_not_proved(
    log: AuditDatabase, tmp_path: Path, place: int, change: Callable[[dict[str, Any]], None]
) -> None:
    folder = exported(log, tmp_path / "out", "fhir").folder
    whole = json.loads((folder / "bundle.json").read_text(encoding="utf-8"))
    change(whole["entry"][place]["resource"])
    (folder / "bundle.json").write_text(json.dumps(whole), encoding="utf-8")
    code, said = proved(folder)
    assert code == 1 and f"entry {place + 1}: the resource does not say" in said


@pytest.mark.parametrize("user", ["", "siti"])
def test_what_is_said_of_every_act_and_phase_is_proved(user: str) -> None:
    origin, now = "clinic-appliance/0123456789abcdef", Hourly(0)()
    for act, phase in itertools.product(RECORDED, PHASES):
        body = {"image": MARK, "error": "a-code" if phase == "failed" else None}
        text = entry_text(7, now, "run", user, f"{act}.{phase}", body)
        entry = read_entry(text)
        assert says(audit_event(entry, text, origin), vars(entry), origin), entry.kind


def test_entries_of_another_key_are_not_proved(log: AuditDatabase, tmp_path: Path) -> None:
    """An attacker's own log under the same file names fails against the key written down."""
    ours = exported(log, tmp_path / "ours", "jsonl")
    key = json.loads((ours.folder / "export.json").read_text())["key"]
    assert proved(ours.folder, "--key", key)[0] == 0
    with AuditDatabase(tmp_path / "forged", lambda: Moment("2026-01-01T00:00:00Z", "", 0)) as other:
        forged = exported(other, tmp_path / "theirs", "jsonl")
    assert proved(forged.folder)[0] == 0 and proved(forged.folder, "--key", key)[0] == 1


def seqs(folder: Path) -> list[int]:
    return [
        json.loads(line)["seq"] for line in (folder / "entries.jsonl").read_bytes().splitlines()
    ]


def test_selections_hold_what_they_say(log: AuditDatabase, tmp_path: Path) -> None:
    def chosen(name: str, **selected: Any) -> list[int]:
        return seqs(exported(log, tmp_path / name, "jsonl", **selected).folder)

    assert chosen("kind", kinds=("caption",)) == [2, 3, 11, 18]
    assert chosen("kinds", kinds=("caption.asked", "lookup")) == [2, 4, 5, 6]
    assert chosen("image", image=MARK) == [18]
    assert chosen("user", user="ali") == []
    since, until = read_time("2026-01-01T03:00"), read_time("2026-01-01T05:00+00:00")
    assert chosen("time", since=since, until=until) == [4, 5]
    asked = [entry for entry in log.entries() if entry.kind == "log.export.asked"]
    assert asked[0].body["selection"] == {"kinds": ["caption"]}
    with pytest.raises(ConfigError, match="not a date"):
        read_time("yesterday")


def test_a_table_cannot_carry_a_formula(log: AuditDatabase, tmp_path: Path) -> None:
    done = exported(log, tmp_path / "out", "csv", image=MARK)
    with (done.folder / "entries.csv").open(encoding="utf-8-sig", newline="") as file:
        [row] = csv.DictReader(file)
    assert row["error"] == "'" + FORMULA and row["decision"] == "set" and row["user"] == "siti"
    assert json.loads(row["entry"])["body"]["error"] == FORMULA
    assert proved(done.folder)[0] == 0


def events(log: AuditDatabase, out: Path) -> list[dict[str, Any]]:
    whole = json.loads((exported(log, out, "fhir").folder / "bundle.json").read_text())
    return [one["resource"] for one in whole["entry"]]


def test_every_kind_is_a_valid_audit_event(log: AuditDatabase, tmp_path: Path) -> None:
    exported(log, tmp_path / "first", "fhir")
    for event in events(log, tmp_path / "out"):
        AuditEvent.model_validate(event)
        people = [agent for agent in event["agent"] if agent["requestor"]]
        assert len(people) == 1
        assert event["outcome"] if "outcome" in event else "asked" in event["subtype"][0]["code"]
    bundle = Bundle.model_validate_json((tmp_path / "out" / "bundle.json").read_text())
    assert bundle.entry is not None
    assert len(bundle.entry) == len({one.fullUrl for one in bundle.entry}) == 21


@pytest.mark.parametrize(
    ("kind", "code", "action", "outcome"),
    [
        ("caption.asked", "110103", "E", None),
        ("lookup.done", "110112", "E", "0"),
        ("lookup.failed", "110112", "E", "4"),
        ("guideline.add.done", "110107", "C", "0"),
        ("caption.interrupted", "110103", "E", "8"),
        ("crash.found", "110113", "E", "8"),
        ("log.opened", "110101", "C", "0"),
        ("stop", "110100", "E", "0"),
        ("user.signin.failed", "110114", "E", "4"),
        ("release.activated", "110100", "E", "0"),
    ],
)
def test_acts_have_their_dicom_codes(
    log: AuditDatabase, tmp_path: Path, kind: str, code: str, action: str, outcome: str | None
) -> None:
    found = {event["subtype"][0]["code"]: event for event in events(log, tmp_path / "out")}
    event = found[kind]
    assert (event["type"]["code"], event["action"]) == (code, action)
    assert event.get("outcome") == outcome


@pytest.mark.parametrize("act", RECORDED)
def test_every_act_is_a_valid_audit_event_with_its_dicom_codes(act: str) -> None:
    for phase in ("asked", "done", "failed"):
        text = entry_text(7, Hourly(0)(), "run", "siti", f"{act}.{phase}", {"account": "ali"})
        event = audit_event(read_entry(text), text, "clinic-appliance/0123456789abcdef")
        AuditEvent.model_validate(event)
        assert event["type"]["code"] == ACTS[act][0] and event["action"] == ACTS[act][2]
        assert event["subtype"][0]["code"] == f"{act}.{phase}"
        codes = {one["code"] for one in event["subtype"][1:]} - {"disclose"}
        assert codes == ({ACTS[act][1]} - {""})


def test_an_export_is_a_disclosure_as_balp_has_it(log: AuditDatabase, tmp_path: Path) -> None:
    """IHE BALP 1.1.4, IHE.BasicAudit.PrivacyDisclosure.Source: its patterns and cardinalities."""
    exported(log, tmp_path / "first", "jsonl")
    [event] = [one for one in events(log, tmp_path / "out") if "meta" in one]
    assert event["subtype"][0]["code"] == "log.export.done"
    assert event["type"]["code"] == "110106" and event["action"] == "R"
    assert {"disclose"} < {one["code"] for one in event["subtype"]}
    assert event["outcome"] == "0" and "modifierExtension" not in event
    roles = {
        agent["type"]["coding"][0]["code"]: agent for agent in event["agent"] if "type" in agent
    }
    for role in ("110153", "110152"):
        assert roles[role]["who"] and roles[role]["network"]
    assert roles["110153"]["who"] == event["source"]["observer"]
    patients = [one for one in event["entity"] if one["type"]["code"] == "1"]
    assert len(patients) == 1 and patients[0]["role"]["code"] == "1" and len(event["entity"]) >= 2
    assert patients[0]["what"]["extension"][0]["valueCode"] == "masked"


def test_an_export_refuses_what_is_there_and_leaves_nothing_half_done(
    log: AuditDatabase, tmp_path: Path
) -> None:
    (tmp_path / "there").mkdir()
    with pytest.raises(ConfigError):
        exported(log, tmp_path / "there", "jsonl")
    with pytest.raises(ApplianceError, match="cannot be written"):
        exported(log, tmp_path / "nowhere" / "out", "jsonl")
    before = sorted(tmp_path.iterdir())
    with pytest.raises(AuditError):
        exported(NoDone(log), tmp_path / "out", "jsonl")
    assert sorted(tmp_path.iterdir()) == before


class NoDone(AuditDatabase):
    """A log on whose disk the last entry has no room."""

    def __init__(self, log: AuditDatabase) -> None:
        self.__dict__ = log.__dict__

    def append(self, kind: str, body: Any) -> Any:
        if kind == "log.export.done":
            raise AuditError("the audit log cannot be written", "free disk space")
        return super().append(kind, body)
