"""The doctor: what is wrong with a machine is found and named, and what is not is not."""

import json
import os
import shutil
import sqlite3
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from stand_ins import OneImage, ports

from appliance.cli.main import run
from appliance.config import Config
from appliance.core.consult import consult
from appliance.core.entry import Moment
from appliance.core.health import Finding, worst_exit_code
from appliance.edges import clock, health, offline_proof
from appliance.edges.audit_aside import set_aside_by_hand
from appliance.edges.audit_db import AuditDatabase
from appliance.edges.audit_reader import AuditReader
from appliance.edges.case_store import CaseStore
from appliance.edges.users_db import UserDatabase
from appliance.errors import AuditError
from appliance.release.manifest import MODEL
from appliance.release.shelf import BUILT_IN
from appliance.wiring import prove_offline

LONG_AGO = "2026-01-02T03:04:05.000+00:00"


def found(findings: list[Finding], name: str) -> list[Finding]:
    return [finding for finding in findings if finding.name == name]


def look(config: Config, *, full: bool = False, **now: Any) -> list[Finding]:
    """Without the slow checks, which have tests of their own."""
    moment = Moment(**{**vars(clock.now()), **now})
    checks = {
        "clock": lambda: health._clock(config, moment),
        "disk": lambda: health._disk(config),
        "permissions": lambda: health._permissions(config),
        "leftovers": lambda: health._leftovers(config),
        "sqlite": lambda: health._sqlite(config),
        "log": lambda: health._log(config, moment, full=full),
        "cases": lambda: health._cases(config),
        "access": lambda: health._access(config, moment),
        "settings": lambda: health._settings(config),
    }
    return [one for name, check in checks.items() for one in health._found(name, check)]


@pytest.fixture
def config(home: Path) -> Config:
    """Of a home with a log."""
    with AuditDatabase(home / "log", clock.now) as log:
        for number in range(5):
            log.append("act.done", {"n": number})
    return Config(home)


def test_on_a_sound_machine_nothing_is_bad(config: Config) -> None:
    findings = look(config, full=True)
    assert [finding for finding in findings if finding.state == "bad"] == []
    assert "every one proved" in found(findings, "log")[0].text
    [checkpoint] = found(findings, "checkpoint")
    assert checkpoint.state == "warn" and "audit checkpoint" in checkpoint.hint


def test_a_wrong_clock_is_named(config: Config) -> None:
    [early] = found(look(config, at="2019-03-01T00:00:00.000+00:00"), "clock")
    assert early.state == "bad" and "2019-03-01" in early.text
    [back] = found(look(config, at=LONG_AGO), "clock")
    assert back.state == "bad" and "before the log's newest entry" in back.text
    [ahead] = found(look(config, at="2031-01-01T00:00:00.000+00:00"), "clock")
    assert ahead.state == "warn"
    assert found(look(config), "clock")[0].state == "ok"


def test_an_old_checkpoint_is_to_know(config: Config) -> None:
    with AuditDatabase(config.log_folder, clock.now) as log:
        log.sign("shown")
    assert found(look(config), "checkpoint")[0].state == "ok"
    [later] = found(look(config, at="2031-01-01T00:00:00.000+00:00"), "checkpoint")
    assert later.state == "warn" and "days old" in later.text


@pytest.mark.parametrize("name", ["log", "log/audit.db", "log/signing.key"])
def test_what_others_may_read_is_bad(name: str, config: Config) -> None:
    path = config.home / name
    path.chmod(path.stat().st_mode | 0o044)
    [finding] = found(look(config), "permissions")
    assert finding.state == "bad" and str(path) in finding.text and "chmod" in finding.hint


def test_a_home_that_others_may_look_into_is_to_know(config: Config) -> None:
    config.home.chmod(0o755)
    assert found(look(config), "permissions")[0].state == "warn"


def test_wal_on_an_old_sqlite_is_bad(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    database = sqlite3.connect(config.log_folder / "audit.db")
    assert database.execute("PRAGMA journal_mode = WAL").fetchone() == ("wal",)
    database.close()
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 51, 2))
    assert found(look(config), "sqlite")[0].state == "bad"
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 51, 3))
    assert found(look(config), "sqlite")[0].state == "ok"


def test_a_rewritten_entry_is_found_only_by_the_full_look(config: Config) -> None:
    database = sqlite3.connect(config.log_folder / "audit.db")
    with database:
        database.execute("DROP TRIGGER entry_not_updated")
        database.execute("UPDATE entry SET text = replace(text, '3', '4') WHERE seq = 3")
    database.close()
    assert found(look(config), "log")[0].state == "ok"
    [finding] = found(look(config, full=True), "log")
    assert finding.state == "bad" and finding.exit_code == 4 and "entry 3" in finding.text


def test_a_log_put_in_the_place_of_the_one_that_has_the_cases_is_found(config: Config) -> None:
    with AuditDatabase(config.log_folder, clock.now) as log, CaseStore(config.cases_folder) as kept:
        consult("/x/eye.png", replace(ports(images=OneImage()), audit=log, cases=kept), 0)
    assert found(look(config), "cases")[0].state == "ok"
    set_aside_by_hand(config.log_folder, "2026-02-03")
    AuditDatabase(config.log_folder, clock.now).close()
    assert found(look(config), "cases")[0].state == "ok", "the new log names the one before"
    shutil.rmtree(config.log_folder)
    for _ in range(2):
        [finding] = found(look(config), "cases")
        assert finding.state == "bad" and finding.exit_code == 4 and "is gone" in finding.text
        AuditDatabase(config.log_folder, clock.now).close()


def test_a_log_cut_back_behind_its_newest_case_is_found(config: Config) -> None:
    """To an older checkpoint of its own: no key is needed for it, and it proves whole."""
    path, cases = config.log_folder / "audit.db", config.cases_folder
    for _ in range(2):
        with AuditDatabase(config.log_folder, clock.now) as log, CaseStore(cases) as kept:
            consult("/x/eye.png", replace(ports(images=OneImage()), audit=log, cases=kept), 0)
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        triggers = "SELECT name FROM sqlite_schema WHERE type = 'trigger'"
        for (name,) in database.execute(triggers).fetchall():
            database.execute(f"DROP TRIGGER {name}")
        older = "SELECT size, note FROM checkpoint WHERE why = 'closed' ORDER BY number DESC"
        _, (size, note), _ = database.execute(older).fetchall()
        database.execute("DELETE FROM entry WHERE seq > ?", [size])
        database.execute("DELETE FROM checkpoint WHERE size > ?", [size])
    (config.log_folder / "checkpoint").write_text(note)
    for _ in range(2):
        findings = look(config, full=True)
        assert found(findings, "log")[0].state == "ok"
        [finding] = found(findings, "cases")
        assert finding.state == "bad" and "the newest case" in finding.text
        with AuditDatabase(config.log_folder, clock.now) as log:
            for _ in range(9):
                log.append("act.done", {})


def test_a_program_that_died_and_what_it_left_are_to_know(config: Config) -> None:
    (config.log_folder / "running" / "0123abcd").write_text("2")
    (config.home / ".restore-x").mkdir()
    (config.home / "before-restore-2026").mkdir()
    findings = look(config)
    assert found(findings, "crashes")[0].text.endswith("crash: 1")
    assert [one.state for one in found(findings, "leftovers")] == ["warn", "warn"]


def test_a_full_disk_is_bad(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "LEAST_FREE", 1 << 62)
    [finding] = found(look(config), "disk")
    assert finding.state == "bad" and "make room" in finding.hint


def test_who_may_sign_in(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "_people", lambda: 3)
    [finding] = found(look(config), "access")
    assert finding.state == "warn" and "3 people" in finding.text
    config = Config(config.home, access="users")
    assert found(look(config), "access")[0].state == "bad", "nobody is there"
    with UserDatabase(config.users_folder, clock.now) as users:
        users.add("aminah", "administrator", "a long enough secret")
        assert found(look(config), "access")[0].state == "warn", "one administrator may be lost"
        users.add("lim", "administrator", "another long secret")
    assert found(look(config), "access")[0].state == "ok"


def test_settings_that_the_environment_overrides_are_to_know(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("APPLIANCE_PASSAGES", "5")
    findings = found(look(Config(config.home, passages=5)), "settings")
    assert "passages = 5" in findings[0].text and "passages" in findings[1].text


def test_a_check_that_fails_is_a_finding(config: Config) -> None:
    (config.home / "cases").mkdir(mode=0o700)
    (config.home / "cases" / "cases.db").write_bytes(b"x" * 5000)
    [finding] = found(look(config), "cases")
    assert finding.state == "bad" and "cannot be opened" in finding.text


def test_the_log_comes_first_in_the_exit_code_and_what_is_missing_last() -> None:
    missing, bad, broken = (Finding("x", "bad", "", "", code) for code in (3, 1, 4))
    assert worst_exit_code([Finding("x", "warn", ""), Finding("x", "ok", "")]) == 0
    assert worst_exit_code([missing]) == 3
    assert worst_exit_code([missing, bad]) == 1
    assert worst_exit_code([bad, missing, broken]) == 4


def doctor(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, dict[str, Any]]:
    capsys.readouterr()
    code = run([*arguments, "doctor", "--json"])
    return code, json.loads(capsys.readouterr().out)


def states(report: dict[str, Any]) -> dict[str, str]:
    return {one["name"]: one["state"] for one in report["findings"]}


def test_without_a_release_all_other_findings_are_told(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["--release", "none", "doctor", "--offline"]) == 3
    shown = capsys.readouterr().out
    assert "clock" in shown and "offline" in shown and "release list" in shown
    assert not (home / "log").exists()


def test_a_proof_that_cannot_be_recorded_is_a_finding(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        offline_proof, "prove_offline", lambda release: Finding("offline", "ok", "")
    )
    (config.log_folder / "audit.db").write_bytes(b"x" * 5000)
    finding = prove_offline(config)
    assert (finding.state, finding.exit_code) == ("bad", AuditError.exit_code)


def test_a_quick_look_takes_no_memory_for_a_model(config: Config) -> None:
    """As the screen's, which has one. A changed file is not seen by it, and that is said."""
    ours = config.releases_folder / "ours"
    shutil.copytree(BUILT_IN, ours)
    (ours / MODEL).write_bytes(b"")
    findings = health.look(replace(config, release="ours"), clock.now(), full=False, quick=True)
    assert found(findings, "model") == []
    [release, _] = found(findings, "release")
    assert release.state == "ok" and "`appliance doctor`" in release.text


def test_a_system_that_starts_nothing_in_time_is_a_finding(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(health, "LONGEST_S", 0.001)
    [finding] = health._found("network", health._network)
    assert (finding.name, finding.state) == ("network", "bad") and "timed out" in finding.text


@pytest.mark.slow
def test_by_command_on_the_demonstration(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, report = doctor(capsys)
    assert code == report["exit_code"] == 3, "there are no guidelines yet"
    assert not (home / "log").exists(), "it makes no log"
    assert run(["guidelines", "add", "--sample"]) == 0
    started_s = time.monotonic()
    code, report = doctor(capsys)
    assert code == 0 and time.monotonic() - started_s < 20, "3 s alone on a quiet machine"
    assert set(report["findings"][0]) == {"name", "state", "text", "hint", "exit_code"}
    said = states(report)
    assert said["model"] == said["guidelines"] == said["log"] == "ok" and said["release"] == "warn"
    silent = [one["text"] for one in report["findings"] if one["name"] == "network"]
    if os.uname().machine in ("x86_64", "aarch64"):
        assert len(silent) == 2 and all("can open no connection" in text for text in silent)
    with AuditReader(home / "log") as log:
        [entry] = [one for one in log.entries() if one.kind == "doctor.done"]
    assert entry.body["ok"] >= 10 and entry.body["full"] is entry.body["quick"] is False
    with AuditReader(home / "log") as log:
        [begun] = [one for one in log.entries() if one.kind == "program.started"][-1:]
    assert begun.body["command"] == "doctor"


@pytest.mark.slow
def test_by_command_a_changed_release_and_a_broken_log(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ours = home / "releases" / "ours"
    shutil.copytree(BUILT_IN, ours)
    with (ours / MODEL).open("r+b") as file:
        file.seek(5000)
        file.write(b"\xff" * 8)
    code, report = doctor(capsys, "--release", "ours")
    assert code == 1 and states(report)["release"] == states(report)["model"] == "bad"
    shutil.rmtree(ours)
    code, report = doctor(capsys, "--release", "ours")
    assert code == 3
    with AuditDatabase(home / "log", clock.now):
        pass
    (home / "log" / "audit.db").write_bytes(b"x" * 5000)
    assert doctor(capsys)[0] == 4
    assert run(["doctor"]) == 4
    shown = capsys.readouterr().out
    assert "BAD" in shown and "->" in shown
