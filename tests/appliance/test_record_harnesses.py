"""The record's harnesses in small counts, each with the bad setting that must fail.

The full counts: python -m tests.benchmarks.record_{tamper,kill,power,faults,speed}
"""

import shutil
from pathlib import Path

import pytest

from appliance.edges import audit_sqlite
from appliance.errors import AuditError
from tests.benchmarks.record_faults import sweep
from tests.benchmarks.record_kill import kill
from tests.benchmarks.record_power import replay
from tests.benchmarks.record_tamper import WAYS, matrix

needs_strace = pytest.mark.skipif(not shutil.which("strace"), reason="strace is not installed")


@pytest.mark.slow
def test_every_tampering_is_found_and_named(tmp_path: Path) -> None:
    tallies = matrix(tmp_path, 6, 130)
    assert list(tallies) == list(WAYS)
    for way, tally in tallies.items():
        assert (way, tally.found, tally.named) == (way, 6, 6)
        assert tally.missed_without == tally.careful == 3, "the control sees nothing"


@pytest.mark.slow
def test_no_answer_shown_is_gone_after_a_kill(tmp_path: Path) -> None:
    found = kill(tmp_path / "log", 6)
    assert found.answers and not found.lost and found.fault is None and found.crashes_found


@pytest.mark.slow
def test_an_answer_shown_too_early_is_gone_after_a_kill(tmp_path: Path) -> None:
    try:
        is_caught = bool(kill(tmp_path / "log", 9, "late-commit").lost)
    except AuditError:  # what was lost had been signed already: the log does not open
        is_caught = True
    assert is_caught


@needs_strace
@pytest.mark.slow
def test_no_answer_shown_is_gone_after_a_power_cut(tmp_path: Path) -> None:
    states = replay(tmp_path, 2, 1)
    assert set(states) == {"good"} and states["good"] > 100


@needs_strace
@pytest.mark.slow
def test_wal_without_sync_loses_answers_in_a_power_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_sqlite, "FIRST_SOUND_WAL", (3, 0, 0))
    assert replay(tmp_path, 2, 1, "wal-normal").get("answers lost")


@needs_strace
@pytest.mark.slow
@pytest.mark.parametrize("action", ["signal=KILL", "error=ENOSPC"])
def test_a_write_that_fails_shows_nothing_unrecorded(action: str) -> None:
    found = sweep("pwrite64", action, [3, 12, 25])
    assert found and not any(outcome.startswith("BAD") for outcome in found)


@needs_strace
@pytest.mark.slow
def test_a_writer_that_shows_what_it_could_not_record_is_found() -> None:
    found = sweep("pwrite64", "error=EIO", [40, 45, 70], "shown-anyway")
    assert any(outcome.startswith("BAD") for outcome in found)
