"""That everything is an entry: the table of kinds, start and stop, settings, clock, readings."""

import ast
import json
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

import appliance
from appliance.audit_export.fhir import ACTS, DISPLAY
from appliance.cli.main import run
from appliance.config import load_config
from appliance.core.entry import ASKED, OUTCOMES, Entry, Moment
from appliance.core.kinds import PHASES, RECORDED
from appliance.core.program import Program
from appliance.edges import clock
from appliance.edges.audit_db import AuditDatabase
from appliance.edges.audit_reader import AuditReader
from appliance.errors import AuditError
from appliance.wiring import open_audit

RECORDING = {"recorded", "append", "_insert", "_insert_next", "_change", "entry_text"}
"""Functions that are given the name of an act or a kind."""
PROGRAM = Program("1.0", "caption", {"access": "single", "risk": 0.1}, frozenset())


def named_in_the_source() -> Iterator[str]:
    for path in Path(appliance.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                name = getattr(node.func, "id", getattr(node.func, "attr", ""))
                given = [one.value for one in node.args if isinstance(one, ast.Constant)]
                texts = [one for one in given if isinstance(one, str)]
                if name in RECORDING:
                    yield from (text for text in texts if is_name(text, name))


def is_name(text: str, function: str) -> bool:
    words = text.split(".")
    is_whole = all(word.replace("-", "").isalpha() and word.islower() for word in words)
    return is_whole and (len(words) > 1 or (len(words) == 1 and function == "recorded"))


def act_of(name: str) -> str:
    act, _, phase = name.rpartition(".")
    return act if phase in PHASES else name


def test_every_kind_that_is_recorded_is_in_the_table_and_has_a_dicom_code() -> None:
    named = {act_of(name) for name in named_in_the_source()}
    assert len(named) > 25 and named <= set(RECORDED), named - set(RECORDED)
    assert set(RECORDED) == set(ACTS) and {ASKED, *OUTCOMES} <= PHASES
    assert all(code in DISPLAY and (not kind or kind in DISPLAY) for code, kind, _ in ACTS.values())


def of_kind(folder: Path, *kinds: str) -> list[Entry]:
    with AuditReader(folder) as log:
        return [entry for entry in log.entries() if entry.kind in kinds]


def commits(path: Path) -> int:
    """By the file's change counter (sqlite.org/fileformat2.html, 1.3.11)."""
    return int.from_bytes(path.read_bytes()[24:28], "big")


def test_start_and_stop_cost_one_commit(tmp_path: Path) -> None:
    spent = []
    for program in (None, PROGRAM, replace(PROGRAM, settings={"access": "users"})):
        with AuditDatabase(tmp_path, clock.now) as log:
            log.append("act.done", {})
        before = commits(tmp_path / "audit.db")
        with AuditDatabase(tmp_path, clock.now, "siti", program) as log:
            log.append("act.done", {})
        spent.append(commits(tmp_path / "audit.db") - before)
    assert spent == [2, 3, 3]
    started = of_kind(tmp_path, "program.started")
    assert [entry.body["access"] for entry in started] == ["single", "users"]
    assert started[0].body["version"] == "1.0" and started[0].body["command"] == "caption"
    stopped = of_kind(tmp_path, "program.stopped")
    assert [entry.body["started"] for entry in stopped] == [entry.seq for entry in started]


def test_a_killed_program_has_started_and_not_stopped(home: Path) -> None:
    script = (
        "import os\n"
        "from appliance.config import load_config\n"
        "from appliance.wiring import open_audit\n"
        "log = open_audit(load_config(os.environ, {}))\n"
        "log.append('lookup.asked', {})\n"
        "os.kill(os.getpid(), 9)\n"
    )
    subprocess.run([sys.executable, "-c", script], check=False)
    open_audit(load_config(os.environ, {})).close()
    started, second = of_kind(home / "log", "program.started")
    [stopped] = of_kind(home / "log", "program.stopped")
    [crash] = of_kind(home / "log", "crash.found")
    assert stopped.body["started"] == second.seq and crash.body["run"] == started.run


def settings_entries(home: Path) -> list[dict[str, Any]]:
    return [dict(entry.body) for entry in of_kind(home / "log", "setting.changed")]


def test_a_setting_changed_by_hand_is_found_once_and_a_path_is_not_told(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home.mkdir()
    settings = home / "settings.toml"
    for text in (
        "",
        "",
        "risk = 0.05\n",
        "risk = 0.05\nwatch_folder = '/patients/Zulkifli'\n",
        "risk = 0.05\nwatch_folder = '/patients/Ali'\n",
        "risk = 0.05\nwatch_folder = '/patients/Ali'\n",
    ):
        settings.write_text(text, encoding="utf-8")
        open_audit(load_config(os.environ, {})).close()
    monkeypatch.setenv("APPLIANCE_PASSAGES", "7")
    open_audit(load_config(os.environ, {})).close()
    first, *found = settings_entries(home)
    assert first["before"] is None and first["settings"]["risk"] == 0.1
    assert [one["changed"] for one in found] == [
        ["risk"],
        ["watch_folder"],
        ["watch_folder"],
        ["passages"],
    ]
    assert found[0]["settings"]["risk"] == 0.05 and found[3]["settings"]["passages"] == 7
    places = [one["settings"]["watch_folder"] for one in (first, *found)]
    assert places[0] == "" and len({*places}) == 3 and len(places[2]) == 64
    assert b"patients" not in (home / "log" / "audit.db").read_bytes()


def test_the_settings_before_are_found_behind_many_other_entries(tmp_path: Path) -> None:
    for count in (120, 0):
        with AuditDatabase(tmp_path, clock.now, "", PROGRAM) as log:
            for number in range(count):
                log.append("act.done", {"n": number, "kind": '"kind":"program.st'})
    changed = of_kind(tmp_path, "setting.changed")
    assert [entry.body["before"] for entry in changed] == [None]


class Ticking:
    """A clock that can be set."""

    def __init__(self) -> None:
        self.at = datetime(2026, 1, 1, tzinfo=UTC)

    def __call__(self) -> Moment:
        return Moment(self.at.isoformat(timespec="milliseconds"), "boot", 0)

    def goes(self, seconds: float) -> None:
        self.at += timedelta(seconds=seconds)


def test_a_clock_that_was_set_back_is_recorded_once(tmp_path: Path) -> None:
    now = Ticking()
    with AuditDatabase(tmp_path, now) as log:
        log.append("act.done", {"n": 1})
        for seconds in (-1.9, 1.9, -3600, 0, 10):
            now.goes(seconds)
            log.append("act.done", {})
    now.goes(-86_400)
    with AuditDatabase(tmp_path, now, "", PROGRAM) as log:
        log.append("act.done", {})
        newest = log.get(log.size())
    found = of_kind(tmp_path, "clock.setback")
    assert [entry.body["by_s"] for entry in found] == [3600, 86_400]
    assert newest is not None and newest.kind == "act.done"
    with AuditReader(tmp_path) as log:
        assert log.verify().fault is None
        behind = log.get(found[0].seq - 1)
        assert behind is not None and behind.seq == found[0].body["newest"]


@pytest.fixture
def own(home: Path) -> Path:
    """This machine's log."""
    with AuditDatabase(home / "log", clock.now) as log:
        log.append("act.done", {})
    return home / "log"


def acts(folder: Path, first: int = 1) -> list[tuple[str, dict[str, Any]]]:
    """What the log holds of readings and verifications, from entry `first` on."""
    with AuditReader(folder) as log:
        return [
            (entry.kind, dict(entry.body))
            for entry in log.entries(first)
            if entry.kind.startswith(("log.read.", "log.verify."))
        ]


def test_reading_and_proving_are_recorded_with_their_result(
    own: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with AuditReader(own) as log:
        origin = log.origin
    assert run(["audit", "list", "--last", "2", "--json"]) == 0
    kinds = [json.loads(line)["kind"] for line in capsys.readouterr().out.splitlines()]
    assert kinds == ["log.opened", "act.done"], "not the reading itself"
    assert run(["audit", "show", "99"]) == 2
    assert run(["audit", "verify"]) == 0
    found = acts(own)
    assert [kind for kind, _ in found] == [
        *("log.read.asked", "log.read.done", "log.read.asked", "log.read.failed"),
        *("log.verify.asked", "log.verify.done"),
    ]
    assert found[0][1] == {"log": origin, "view": "list", "last": 2}
    assert found[2][1] == {"log": origin, "view": "show", "entry": 99}
    assert found[5][1]["first_bad"] is None and found[5][1]["entries"] > 2


def test_reading_another_log_is_recorded_in_ones_own(own: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    with AuditDatabase(other, clock.now) as log:
        log.append("act.done", {})
    before = {path: path.read_bytes() for path in other.rglob("*") if path.is_file()}
    for command in (["list"], ["show", "1"], ["verify"]):
        assert run(["audit", *command, "--log", str(other)]) == 0
    assert before == {path: path.read_bytes() for path in other.rglob("*") if path.is_file()}
    with AuditReader(other) as log:
        assert {body.get("log") for kind, body in acts(own) if kind.endswith("asked")} == {
            log.origin
        }


def test_a_machine_without_a_log_reads_another_and_makes_none(home: Path, tmp_path: Path) -> None:
    with AuditDatabase(tmp_path / "other", clock.now) as log:
        log.append("act.done", {})
    for command in (["list"], ["show", "1"], ["verify"]):
        assert run(["audit", *command, "--log", str(tmp_path / "other")]) == 0
    assert not home.exists()


def test_a_broken_log_is_verified_and_the_result_recorded_if_it_can_be(
    own: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with closing(sqlite3.connect(own / "audit.db", isolation_level=None)) as connection:
        connection.execute("DROP TRIGGER entry_not_updated")
        connection.execute("UPDATE entry SET text = replace(text, '{}', '[]') WHERE seq = 2")
        connection.execute("INSERT INTO entry SELECT 4, text, hashes FROM entry WHERE seq = 2")
    assert run(["audit", "verify"]) == 4
    shown = capsys.readouterr().err
    assert "not recorded" in shown and "audit log is broken: entry 2 was changed" in shown
    assert run(["audit", "list"]) == 4, "what cannot be recorded is not shown"


def test_the_middle_of_a_log_that_is_bad_is_in_the_record(own: Path) -> None:
    assert run(["audit", "list"]) == 0
    with closing(sqlite3.connect(own / "audit.db", isolation_level=None)) as connection:
        connection.execute("DROP TRIGGER entry_not_updated")
        connection.execute("UPDATE entry SET text = text || ' ' WHERE seq = 2")
    assert run(["audit", "verify"]) == 4
    kind, body = acts(own, first=3)[-1]
    assert (kind, body["first_bad"]) == ("log.verify.done", [2, 2])


def archived(folder: Path) -> list[Path]:
    """Two archives, of entries 1 to 59 and from 60 on."""
    from appliance.edges.audit_archive import archive_log

    day = iter(datetime(2019, 1, 1, tzinfo=UTC) + timedelta(days=number) for number in range(999))
    with AuditDatabase(folder, lambda: Moment(next(day).isoformat(), "boot", 0)) as log:
        for number in range(150):
            log.append("act.done", {"n": number})
        first = archive_log(log, datetime(2019, 3, 1, tzinfo=UTC))
        second = archive_log(log, datetime(2019, 4, 1, tzinfo=UTC))
    assert first and second
    return [first.folder, second.folder]


def test_a_later_archive_is_read_when_the_first_is_elsewhere(tmp_path: Path) -> None:
    first, second = archived(tmp_path)
    shutil.rmtree(first)
    with AuditReader(tmp_path) as log:
        [entry] = log.entries(70, 70)
        assert entry.seq == 70 and next(log.entries()).seq == 60
        with pytest.raises(AuditError, match="archive"):
            log.get(7)
        assert log.verify().fault is None
    (second / "entries.jsonl").unlink()
    (second / "entries.jsonl").mkdir()
    with AuditReader(tmp_path) as log, pytest.raises(AuditError, match="cannot be read"):
        log.get(70)


def test_a_log_that_cannot_be_opened_leaves_no_file_open(own: Path) -> None:
    (own / "audit.db").write_bytes(b"x" * 5000)
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(3):
        with pytest.raises(AuditError):
            AuditReader(own)
        with pytest.raises(AuditError):
            AuditDatabase(own, clock.now)
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_another_key_ends_the_log_and_the_next_names_it(
    own: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    key = (own / "signing.key").read_bytes()
    assert run(["audit", "new-key", "--yes"]) == 0
    assert "new key" in capsys.readouterr().out
    [place] = (own / "set-aside").iterdir()
    assert (own / "signing.key").read_bytes() != key
    assert key not in b"".join(path.read_bytes() for path in own.rglob("*") if path.is_file())
    [begun], [done] = of_kind(place, "key.change.begun"), of_kind(own, "key.change.done")
    with AuditReader(own) as log, AuditReader(place) as old:
        first = log.get(1)
        assert first is not None and first.body["before"]["reason"] == "key changed"
        assert first.body["before"]["checkpoint"] == old.checkpoints()[-1].note
        assert begun.body["public_key"] == old.public_key.hex() != done.body["public_key"]
        assert log.verify().fault is None and old.verify().fault is None
