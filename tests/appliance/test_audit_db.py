"""The log on disk."""

import itertools
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from appliance.edges.audit_db import AuditDatabase, connect
from appliance.errors import AuditError


def frozen() -> str:
    return "2026-01-01T00:00:00.000+00:00"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "log"


def filled(folder: Path, entries: int = 5) -> Path:
    with AuditDatabase(folder, frozen) as log:
        for number in range(entries):
            log.append("act", {"n": number, "p": 0.1 * number, "none": None, "list": [1, "é"]})
        assert log.fault() is None
        return log.path


def test_what_was_appended_is_there_after_reopening(folder: Path) -> None:
    filled(folder)
    with AuditDatabase(folder, frozen) as log:
        assert [entry.seq for entry in log.entries()] == [1, 2, 3, 4, 5]
        assert [entry.seq for entry in log.entries(last=2)] == [4, 5]
        assert log.append("act", {}).seq == 6
        assert log.fault() is None


@pytest.mark.parametrize(
    ("tamper", "fault"),
    [
        (
            "UPDATE entry SET body = replace(body, ': 3,', ': 4,') WHERE seq = 4",
            "entry 4 was changed",
        ),
        ("UPDATE entry SET at = '2020' WHERE seq = 2", "entry 2 was changed"),
        ("DELETE FROM entry WHERE seq = 3", "entry 3 is missing"),
        ("UPDATE entry SET seq = 9 WHERE seq = 5", "entry 5 is missing"),
    ],
)
def test_tampering_is_named_at_its_first_entry(folder: Path, tamper: str, fault: str) -> None:
    path = filled(folder)
    with sqlite3.connect(path) as connection:
        connection.execute("DROP TRIGGER entry_not_updated")
        connection.execute("DROP TRIGGER entry_not_deleted")
        assert connection.execute(tamper).rowcount == 1
    connection.close()
    with AuditDatabase(folder, frozen) as log:
        assert fault in str(log.fault())


@pytest.mark.parametrize(
    "body", ['{"n":1,"n":3}', '{"n": NaN}', "[1]", "no JSON", '{"n": 123456789012345678901}']
)
def test_a_body_that_is_not_as_it_was_written_is_an_audit_error(folder: Path, body: str) -> None:
    path = filled(folder)
    with sqlite3.connect(path) as connection:
        connection.execute("DROP TRIGGER entry_not_updated")
        connection.execute("UPDATE entry SET body = ? WHERE seq = 5", [body])
    connection.close()
    with AuditDatabase(folder, frozen) as log, pytest.raises(AuditError):
        log.fault()


def test_a_value_without_a_canonical_form_is_an_audit_error(folder: Path) -> None:
    with AuditDatabase(folder, frozen) as log:
        with pytest.raises(AuditError):
            log.append("act", {"p": float("nan")})
        assert log.append("act", {}).seq == 1


@pytest.mark.parametrize("statement", ["DELETE FROM entry", "UPDATE entry SET body = '{}'"])
def test_the_database_refuses_to_forget(folder: Path, statement: str) -> None:
    connection = sqlite3.connect(filled(folder))
    with pytest.raises(sqlite3.IntegrityError, match="append only"):
        connection.execute(statement)
    connection.close()


def test_files_are_their_owners_only(folder: Path) -> None:
    filled(folder)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    for path in folder.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path.name


def test_the_same_image_has_one_mark_on_this_machine_and_another_elsewhere(tmp_path: Path) -> None:
    marks = set()
    for machine, _ in itertools.product(("a", "b"), range(2)):
        with AuditDatabase(tmp_path / machine, frozen) as log:
            marks.add(log.image_mark("12" * 32))
    assert len(marks) == 2 and "12" * 32 not in marks


def a_folder_in_a_files_place(folder: Path) -> None:
    (folder / "audit.db").mkdir(parents=True)


def a_file_that_is_no_database(folder: Path) -> None:
    folder.mkdir()
    (folder / "audit.db").write_bytes(b"not a database, but long enough to look at" * 100)


def a_file_in_the_folders_place(folder: Path) -> None:
    folder.write_text("")


@pytest.mark.parametrize(
    "break_it", [a_folder_in_a_files_place, a_file_that_is_no_database, a_file_in_the_folders_place]
)
def test_an_unusable_log_is_an_audit_error(folder: Path, break_it: Callable[[Path], None]) -> None:
    break_it(folder)
    with pytest.raises(AuditError):
        AuditDatabase(folder, frozen)


def test_a_full_disk_is_an_audit_error_and_the_log_stays_whole(folder: Path) -> None:
    filled(folder)
    script = (
        "import resource, signal, sys\n"
        "from pathlib import Path\n"
        "from appliance.edges.audit_db import AuditDatabase\n"
        "from appliance.errors import AuditError\n"
        "log = AuditDatabase(Path(sys.argv[1]), lambda: 'now')\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))\n"
        "try:\n"
        "    while True: log.append('act', {'x': 'y' * 3000})\n"
        "except AuditError: print('refused')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, folder], capture_output=True, text=True, check=True
    )
    assert done.stdout == "refused\n"
    with AuditDatabase(folder, frozen) as log:
        assert log.fault() is None


def test_four_processes_write_one_chain(folder: Path) -> None:
    script = (
        "import sys\n"
        "from pathlib import Path\n"
        "from appliance.edges.audit_db import AuditDatabase\n"
        "with AuditDatabase(Path(sys.argv[1]), lambda: 'now') as log:\n"
        "    for _ in range(10): log.append('act', {'by': sys.argv[2]})\n"
    )
    writers = [
        subprocess.Popen([sys.executable, "-c", script, folder, str(number)]) for number in range(4)
    ]
    assert [writer.wait() for writer in writers] == [0] * 4
    with AuditDatabase(folder, frozen) as log:
        assert len(list(log.entries())) == 40
        assert log.fault() is None


def test_commits_are_made_to_survive_a_power_cut(folder: Path) -> None:
    """Rollback journal with synchronous EXTRA (3): the settings measured to lose nothing."""
    connection = connect(filled(folder))
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("delete",)
    assert connection.execute("PRAGMA synchronous").fetchone() == (3,)
    connection.close()
