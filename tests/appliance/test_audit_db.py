"""The log on disk: what is kept, what is found, what is refused."""

import atexit
import functools
import hashlib
import itertools
import json
import os
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import rfc8785

from appliance.audit_export.folder import export_log
from appliance.audit_export.selection import Selection
from appliance.core.checkpoint import (
    Checkpoint,
    checkpoint_text,
    read_checkpoint,
    short_code,
    signed_note,
)
from appliance.core.entry import Moment
from appliance.core.log_check import Witness
from appliance.core.merkle import Peaks, leaf_hash
from appliance.edges import audit_sqlite
from appliance.edges.audit_archive import archive_log
from appliance.edges.audit_aside import set_aside_by_hand
from appliance.edges.audit_db import AuditDatabase
from appliance.edges.audit_keys import SigningKey
from appliance.edges.audit_reader import AuditReader
from appliance.edges.audit_sqlite import connect
from appliance.errors import AuditError, AuditMissingError

OPENED = 1
"""The entry that a log begins with."""


def frozen() -> Moment:
    return Moment("2026-01-01T00:00:00.000+00:00", "boot", 0)


def days(start: str) -> Callable[[], Moment]:
    """A clock that gives the next day each time it is asked."""
    first = datetime.fromisoformat(start).toordinal()
    ordinals = itertools.count(first)

    def now() -> Moment:
        day = datetime.fromordinal(next(ordinals)).replace(tzinfo=UTC)
        return Moment(day.isoformat(timespec="milliseconds"), "boot", 0)

    return now


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "log"


@functools.cache
def made(entries: int) -> Path:
    """A log of so many acts, made once: most of a test's time is the disk's."""
    folder = Path(tempfile.mkdtemp()) / "log"
    atexit.register(shutil.rmtree, folder.parent)
    with AuditDatabase(folder, frozen) as log:
        for number in range(entries):
            log.append("act", {"n": number, "p": 0.1 * number, "none": None, "list": [1, "é"]})
    return folder


def filled(folder: Path, entries: int = 5) -> Path:
    """The database of a copy of it."""
    shutil.copytree(made(entries), folder, dirs_exist_ok=True)
    return folder / "audit.db"


def fault(folder: Path, *witnesses: Witness) -> str | None:
    with AuditReader(folder) as log:
        found = log.verify(witnesses).fault
        return str(found) if found else None


def tampered(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for table in ("entry", "checkpoint", "log", "archive"):
            for act in ("updated", "deleted"):
                connection.execute(f"DROP TRIGGER {table}_not_{act}")
        for statement in statements:
            assert connection.execute(statement).rowcount >= 1


def test_what_was_appended_is_there_after_reopening(folder: Path) -> None:
    filled(folder)
    with AuditDatabase(folder, frozen) as log:
        assert [entry.seq for entry in log.entries()] == [1, 2, 3, 4, 5, 6]
        assert log.append("act", {}).seq == 7
        found = log.get(3)
        assert found is not None and found.body["list"] == [1, "é"]
        assert log.get(99) is None
    assert fault(folder) is None


def test_a_log_names_its_key_in_its_first_entry_and_is_named_after_it(folder: Path) -> None:
    filled(folder)
    with AuditReader(folder) as log:
        first = log.get(OPENED)
        assert first is not None and first.kind == "log.opened"
        assert first.body["public_key"] == log.public_key.hex() and first.body["before"] is None
        assert log.origin == f"clinic-appliance/{first.hash[:16]}"


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        (
            "UPDATE entry SET text = replace(text, ':3,', ':4,') WHERE seq = 5",
            "entry 5 was changed",
        ),
        ("UPDATE entry SET text = text || ' ' WHERE seq = 2", "entry 2 was changed"),
        ("UPDATE entry SET text = NULL WHERE seq = 4", "entry 4 has lost its text"),
        ("UPDATE entry SET hashes = zeroblob(32) WHERE seq = 3", "entry 3 was changed"),
        ("UPDATE entry SET hashes = x'' WHERE seq = 3", "entry 3 was changed"),
        ("DELETE FROM entry WHERE seq = 3", "entry 3 is missing"),
        ("UPDATE entry SET seq = 9 WHERE seq = 6", "entry 6 is missing"),
        ("UPDATE entry SET seq = -1 WHERE seq = 1", "entry 1 is missing"),
        ("DELETE FROM entry WHERE seq = 6", "1 of its entries are missing"),
        ("UPDATE log SET origin = 'another'", "forged"),
        (
            "UPDATE checkpoint SET note = replace(note, 'clinic', 'cynic') WHERE number = 1",
            "forged",
        ),
    ],
)
def test_tampering_is_named_at_its_first_entry(folder: Path, statement: str, expected: str) -> None:
    tampered(filled(folder), statement)
    assert expected in str(fault(folder))


def test_a_log_signed_anew_by_a_strangers_key_is_named(folder: Path) -> None:
    """Everything made to fit but the first entry, by whose hash the log is named."""
    path, stranger, peaks = filled(folder), SigningKey(b"\7" * 32), Peaks()
    tampered(path, "DELETE FROM checkpoint")
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        [(origin,)] = connection.execute("SELECT origin FROM log").fetchall()
        for seq, text in connection.execute("SELECT seq, text FROM entry ORDER BY seq").fetchall():
            changed = text.replace('"n":1', '"n":7')
            hashes = b"".join(peaks.append(leaf_hash(changed.encode())))
            connection.execute(
                "UPDATE entry SET text = ?, hashes = ? WHERE seq = ?", [changed, hashes, seq]
            )
        connection.execute("UPDATE log SET public_key = ?", [stranger.public])
        text = checkpoint_text(Checkpoint(origin, peaks.size, peaks.root()))
        note = signed_note(text, origin, stranger.public, stranger.sign)
        at = "2026-01-01T00:00:00.000+00:00"
        connection.execute(
            "INSERT INTO checkpoint VALUES (1, ?, ?, 'closed', ?)", [peaks.size, at, note]
        )
    (folder / "checkpoint").write_text(note)
    assert "another key" in str(fault(folder))


def test_a_changed_entry_is_neither_listed_nor_exported(folder: Path, tmp_path: Path) -> None:
    changed = "UPDATE entry SET text = replace(text, 'act', 'ACT') WHERE seq = 3"
    tampered(filled(folder), changed)
    with AuditDatabase(folder, frozen) as log:
        assert [entry.seq for entry in log.entries(4, 6)] == [4, 5, 6]
        for read in (
            lambda: list(log.entries()),
            lambda: log.get(3),
            lambda: export_log(log, tmp_path / "out", "csv", Selection()),
        ):
            with pytest.raises(AuditError, match="entry 3 was changed after it was written"):
                read()
    assert not (tmp_path / "out").exists()


def test_a_cut_tail_is_found_by_any_checkpoint_of_it(folder: Path) -> None:
    path = filled(folder)
    with AuditReader(folder) as log:
        newest = log.checkpoint(log.size())
    tampered(path, "DELETE FROM entry WHERE seq > 4", "DELETE FROM checkpoint WHERE size > 4")
    assert "covers 6" in str(fault(folder)), "the checkpoint beside the database still knows"
    (folder / "checkpoint").unlink()
    assert fault(folder) is None, "nothing on this machine knows any more"
    assert "2 of its entries" in str(fault(folder, Witness(6, "register", code=short_code(newest))))


def test_old_checkpoints_fit_by_file_and_by_code(folder: Path, tmp_path: Path) -> None:
    filled(folder)
    kept = tmp_path / "old"
    shutil.copyfile(folder / "checkpoint", kept)
    code = short_code(read_checkpoint(kept.read_text()))
    with AuditDatabase(folder, frozen) as log:
        log.append("act", {})
    with AuditReader(folder) as log:
        assert log.verify([log.witness(str(kept)), log.witness(code.lower())]).fault is None
    with AuditDatabase(tmp_path / "other", frozen) as other, pytest.raises(AuditError):
        other.witness(str(kept))


def test_the_database_refuses_to_forget(folder: Path) -> None:
    with closing(sqlite3.connect(filled(folder))) as connection:
        for table in ("entry", "checkpoint", "log"):
            with pytest.raises(sqlite3.IntegrityError, match="append only"):
                connection.execute(f"DELETE FROM {table}")
        for change in ("text = '{}'", "text = NULL", "hashes = x''"):
            with pytest.raises(sqlite3.IntegrityError, match="append only"):
                connection.execute(f"UPDATE entry SET {change}")


def test_a_checkpoint_is_signed_after_a_hundred_entries_and_at_the_end(folder: Path) -> None:
    filled(folder, 205)
    with AuditReader(folder) as log:
        assert [(kept.size, kept.why) for kept in log.checkpoints()] == [
            (1, "opened"),
            (101, "due"),
            (201, "due"),
            (206, "closed"),
        ]
        assert (folder / "checkpoint").read_text() == log.checkpoints()[-1].note


def test_a_checkpoint_is_signed_after_a_day(folder: Path) -> None:
    with AuditDatabase(folder, days("2026-01-01")) as log:
        log.append("act", {})
        assert log.checkpoints()[-1].size == 2


def test_a_program_that_stays_open_signs_after_a_day_without_an_entry(folder: Path) -> None:
    at = "2026-01-01T00:00:00.000+00:00"
    with AuditDatabase(folder, lambda: Moment(at, "boot", 0)) as log:
        log.append("act", {})
        log.sign_if_due()
        assert log.checkpoints()[-1].size == 1, "a day is not over"
        at = "2026-01-02T00:00:00.000+00:00"
        for _ in range(2):
            log.sign_if_due()
            assert [(kept.size, kept.why) for kept in log.checkpoints()[1:]] == [(2, "due")]
        assert (folder / "checkpoint").read_text() == log.checkpoints()[-1].note


def test_files_are_their_owners_only_also_while_writing(folder: Path) -> None:
    filled(folder)
    folder.chmod(0o755)
    with AuditDatabase(folder, frozen) as log, log._transaction():
        log._insert("act", {})
        assert (folder / "audit.db-journal").exists()
        for path in [folder, *folder.rglob("*")]:
            wanted = 0o700 if path.is_dir() else 0o600
            assert stat.S_IMODE(path.stat().st_mode) == wanted, path.name


def test_the_same_image_has_one_mark_on_this_machine_and_another_elsewhere(tmp_path: Path) -> None:
    marks = set()
    for machine, _ in itertools.product(("a", "b"), range(2)):
        with AuditDatabase(tmp_path / machine, frozen) as log:
            marks.add(log.image_mark("12" * 32))
    assert len(marks) == 2 and "12" * 32 not in marks


def test_a_log_that_never_was_is_not_an_empty_one(folder: Path) -> None:
    with pytest.raises(AuditMissingError):
        AuditReader(folder)
    assert not folder.exists()


def test_a_log_that_is_gone_is_not_begun_anew(folder: Path) -> None:
    filled(folder).unlink()
    with pytest.raises(AuditError, match="gone") as caught:
        AuditReader(folder)
    assert caught.value.exit_code == 4
    with pytest.raises(AuditError, match="gone"):
        AuditDatabase(folder, frozen)


def a_folder_in_a_files_place(folder: Path) -> None:
    (folder / "audit.db").mkdir(parents=True)


def a_file_that_is_no_database(folder: Path) -> None:
    folder.mkdir()
    (folder / "audit.db").write_bytes(b"not a database, but long enough to look at" * 100)


def a_file_in_the_folders_place(folder: Path) -> None:
    folder.write_text("")


def another_database(folder: Path) -> None:
    folder.mkdir()
    with closing(sqlite3.connect(folder / "audit.db")) as connection:
        connection.execute("CREATE TABLE patients (name TEXT)")


def a_tail_that_does_not_fit(folder: Path) -> None:
    tampered(filled(folder), "UPDATE entry SET text = text || ' ' WHERE seq = 6")


def an_older_copy_of_the_database(folder: Path) -> None:
    copy = folder.parent / "copy"
    shutil.copyfile(filled(folder), copy)
    with AuditDatabase(folder, frozen) as log:
        log.append("act", {})
    shutil.copyfile(copy, folder / "audit.db")


def no_signing_key(folder: Path) -> None:
    filled(folder)
    (folder / "signing.key").unlink()


def another_signing_key(folder: Path) -> None:
    filled(folder)
    (folder / "signing.key").write_bytes(bytes(32))


@pytest.mark.parametrize(
    "break_it",
    [
        a_folder_in_a_files_place,
        a_file_that_is_no_database,
        a_file_in_the_folders_place,
        another_database,
        a_tail_that_does_not_fit,
        an_older_copy_of_the_database,
        no_signing_key,
        another_signing_key,
    ],
)
def test_an_unusable_log_is_not_written_to(folder: Path, break_it: Callable[[Path], None]) -> None:
    break_it(folder)
    before = folder.stat().st_mtime if folder.is_file() else sorted(folder.iterdir())
    with pytest.raises(AuditError) as caught:
        AuditDatabase(folder, frozen)
    assert caught.value.exit_code == 4
    if isinstance(before, list):
        assert {path.name for path in folder.iterdir()} >= {path.name for path in before}


def test_wal_is_refused_where_sqlite_can_corrupt_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_sqlite, "FIRST_SOUND_WAL", (99, 0, 0))
    with closing(sqlite3.connect(filled(folder))) as connection:
        assert connection.execute("PRAGMA journal_mode = WAL").fetchone() == ("wal",)
        with pytest.raises(AuditError, match="WAL"):
            AuditDatabase(folder, frozen)
    monkeypatch.setattr(audit_sqlite, "FIRST_SOUND_WAL", (3, 0, 0))
    with AuditDatabase(folder, frozen):
        pass
    assert fault(folder) is None


def test_commits_are_made_to_survive_a_power_cut(folder: Path) -> None:
    """Rollback journal with synchronous EXTRA (3): the settings measured to lose nothing."""
    with closing(connect(filled(folder))) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("delete",)
        assert connection.execute("PRAGMA synchronous").fetchone() == (3,)


def test_a_damaged_log_is_set_aside_and_the_next_names_the_gap(folder: Path) -> None:
    a_tail_that_does_not_fit(folder)
    damaged = (folder / "audit.db").read_bytes()
    note = (folder / "checkpoint").read_text()
    place = set_aside_by_hand(folder, "2026-02-03T04:05:06.000+00:00")
    assert place == folder / "set-aside" / "2026-02-03T04-05-06"
    assert (place / "audit.db").read_bytes() == damaged
    with AuditDatabase(folder, frozen) as log:
        first = log.get(OPENED)
        assert first is not None
        before = first.body["before"]
        assert log.checkpoints()[0].size == OPENED, "the entry that names the gap is signed"
    assert before["folder"] == place.name and before["reason"] == "damaged"
    assert before["checkpoint"] == note and before["entries"] == 6
    assert before["files"]["audit.db"]["sha256"] == hashlib.sha256(damaged).hexdigest()
    assert fault(folder) is None
    (place / "audit.db").write_bytes(damaged + b"x")
    assert "set aside before this one" in str(fault(folder))


def test_an_unreadable_or_lost_log_is_set_aside_too(folder: Path) -> None:
    with pytest.raises(AuditMissingError):
        set_aside_by_hand(folder, "2026-02-03T04:05:06.000+00:00")
    a_file_that_is_no_database(folder)
    set_aside_by_hand(folder, "2026-02-03T04:05:06.000+00:00")
    filled(folder).unlink()
    set_aside_by_hand(folder, "2026-02-03T04:05:07.000+00:00")
    with AuditDatabase(folder, frozen) as log:
        first = log.get(OPENED)
        assert first is not None and list(first.body["before"]["files"]) == ["checkpoint"]


def test_a_log_in_use_is_not_set_aside(folder: Path) -> None:
    with AuditDatabase(folder, frozen), pytest.raises(AuditError, match="open"):
        set_aside_by_hand(folder, "2026-02-03T04:05:06.000+00:00")


def old_chain(folder: Path, entries: int) -> str:
    """A log of the first format; the hash of its head."""
    folder.mkdir()
    previous = "0" * 64
    with closing(sqlite3.connect(folder / "audit.db")) as connection:
        connection.execute(
            "CREATE TABLE entry (seq INTEGER PRIMARY KEY, at TEXT, kind TEXT, body TEXT,"
            " previous TEXT, hash TEXT) STRICT"
        )
        for seq in range(1, entries + 1):
            value: dict[str, Any] = {
                "seq": seq,
                "at": "t",
                "kind": "act",
                "body": {},
                "previous": previous,
            }
            tagged = b"appliance audit entry 1\n" + rfc8785.dumps(value)
            digest = hashlib.sha256(tagged).hexdigest()
            connection.execute(
                "INSERT INTO entry VALUES (?, 't', 'act', '{}', ?, ?)", [seq, previous, digest]
            )
            previous = digest
        connection.commit()
    return previous


@pytest.mark.parametrize("is_whole", [True, False])
def test_a_log_of_the_first_format_is_kept_whole_and_its_head_named(
    folder: Path, is_whole: bool
) -> None:
    head = old_chain(folder, 3)
    if not is_whole:
        with closing(sqlite3.connect(folder / "audit.db")) as connection:
            connection.execute("UPDATE entry SET at = 'later' WHERE seq = 2")
            connection.commit()
    before = (folder / "audit.db").read_bytes()
    with pytest.raises(AuditError, match="older format"):
        AuditReader(folder)
    with AuditDatabase(folder, frozen) as log:
        first = log.get(OPENED)
    assert first is not None
    facts = first.body["before"]
    assert (facts["reason"], facts["entries"], facts["newest"]) == ("older format", 3, head)
    assert facts["fault"] == (None if is_whole else "the chain breaks at entry 2")
    assert (folder / "set-aside" / facts["folder"] / "audit.db").read_bytes() == before
    assert fault(folder) is None


def test_an_interrupted_act_is_recorded_by_the_run_itself(folder: Path) -> None:
    with pytest.raises(KeyboardInterrupt), AuditDatabase(folder, frozen) as log:
        asked = log.append("caption.asked", {})
        raise KeyboardInterrupt
    with AuditReader(folder) as log:
        newest = log.get(log.size())
    assert newest is not None and newest.kind == "caption.interrupted"
    assert newest.body == {"asked": asked.seq}


def test_what_a_killed_process_left_is_recorded_by_the_next(folder: Path) -> None:
    script = (
        "import os, sys\n"
        "from pathlib import Path\n"
        "from appliance.edges.audit_db import AuditDatabase\n"
        "from appliance.edges.clock import now\n"
        "log = AuditDatabase(Path(sys.argv[1]), now)\n"
        "log.append('caption.asked', {}); log.append('caption.answered', {})\n"
        "log.append('lookup.asked', {})\n"
        "os.kill(os.getpid(), 9)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, folder], check=False)
    assert done.returncode == -signal.SIGKILL
    for _ in range(2):
        with AuditDatabase(folder, frozen) as log:
            crashes = [entry for entry in log.entries() if entry.kind == "crash.found"]
    assert [crash.body["unanswered"] for crash in crashes] == [[4]]
    assert fault(folder) is None


def test_a_process_that_lives_is_not_taken_for_dead(folder: Path) -> None:
    with AuditDatabase(folder, frozen) as one, AuditDatabase(folder, frozen) as other:
        one.append("caption.asked", {})
        other.append("act", {})
        one.append("caption.answered", {})
        assert not any(entry.kind == "crash.found" for entry in other.entries())


def test_a_full_disk_is_an_audit_error_and_the_log_stays_whole(folder: Path) -> None:
    filled(folder)
    script = (
        "import resource, signal, sys\n"
        "from pathlib import Path\n"
        "from appliance.edges.audit_db import AuditDatabase\n"
        "from appliance.edges.clock import now\n"
        "from appliance.errors import AuditError\n"
        "log = AuditDatabase(Path(sys.argv[1]), now)\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "size = log.path.stat().st_size\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (size + 4096, size + 4096))\n"
        "try:\n"
        "    for _ in range(100): print(log.append('act', {'pad': 'x' * 2000}).seq)\n"
        "except AuditError as exc: print(exc.exit_code)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, folder], check=True, capture_output=True, text=True
    )
    *written, code = map(int, done.stdout.split())
    assert code == 4 and len(written) < 100
    with AuditReader(folder) as log:
        assert log.size() == max([6, *written])
    assert fault(folder) is None


def test_an_opening_that_fails_on_a_full_disk_is_no_crash_and_the_log_can_be_set_aside(
    folder: Path,
) -> None:
    filled(folder)
    script = (
        "import resource, signal, sys\n"
        "from pathlib import Path\n"
        "from appliance.edges.audit_aside import set_aside_by_hand\n"
        "from appliance.edges.audit_db import AuditDatabase\n"
        "from appliance.edges.clock import now\n"
        "from appliance.errors import AuditError\n"
        "folder = Path(sys.argv[1])\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))\n"
        "for attempt in (lambda: AuditDatabase(folder, now),\n"
        "                lambda: set_aside_by_hand(folder, 'today')):\n"
        "    try: attempt()\n"
        "    except AuditError as exc: print(exc.message)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)\n"
        "print(set_aside_by_hand(folder, 'today').name)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, folder], check=True, capture_output=True, text=True
    )
    written, aside, place = done.stdout.splitlines()
    assert "cannot be written" in written and "cannot be set aside ([Errno 27]" in aside
    assert place == "today" and not any((folder / "running").iterdir())


def test_writers_at_once_make_one_log(folder: Path) -> None:
    script = (
        "import sys\n"
        "from pathlib import Path\n"
        "from appliance.edges.audit_db import AuditDatabase\n"
        "from appliance.edges.clock import now\n"
        "with AuditDatabase(Path(sys.argv[1]), now) as log:\n"
        "    for _ in range(10): log.append('act', {'by': sys.argv[2]})\n"
    )
    writers = [
        subprocess.Popen([sys.executable, "-c", script, folder, str(number)]) for number in range(4)
    ]
    assert [writer.wait() for writer in writers] == [0] * 4
    with AuditReader(folder) as log:
        assert sum(entry.kind == "act" for entry in log.entries()) == 40
    assert fault(folder) is None


def test_old_entries_move_to_an_archive_that_proves_itself(folder: Path) -> None:
    with AuditDatabase(folder, days("2019-01-01")) as log:
        for number in range(150):
            log.append("act", {"n": number})
        old_note = log.sign("shown")
    old = read_checkpoint(old_note)
    texts = {}
    with AuditDatabase(folder, days("2026-01-01")) as log:
        texts = {entry.seq: entry for entry in log.entries()}
        assert archive_log(log, datetime(2018, 1, 1, tzinfo=UTC)) is None
        done = archive_log(log, datetime(2019, 3, 1, tzinfo=UTC))
        assert done is not None and (done.first, done.last) == (1, 59)
        again = archive_log(log, datetime(2019, 4, 1, tzinfo=UTC))
        assert again is not None and again.first == 60
        assert log.get(7) == texts[7] and [e.seq for e in log.entries(50, 70)] == [*range(50, 71)]
    witnesses = Witness(old.size, "register", old.root), Witness(20, "a small one", None, "no code")
    assert fault(folder, witnesses[0]) is None
    assert "small one" in str(fault(folder, *witnesses))
    verifier = subprocess.run(
        [sys.executable, "-I", done.folder / "verify_export.py"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert verifier.returncode == 0, verifier.stdout

    lines = (done.folder / "entries.jsonl").read_bytes()
    (done.folder / "entries.jsonl").write_bytes(lines.replace(b'"n":8', b'"n":9'))
    assert "was changed" in str(fault(folder))
    shutil.rmtree(done.folder)
    assert fault(folder, witnesses[0]) is None, "carried elsewhere: the hashes are still proved"
    with AuditReader(folder) as log, pytest.raises(AuditError, match="archive"):
        log.get(7)


def test_texts_erased_without_an_archive_are_found(folder: Path) -> None:
    """No trigger stands in the way of it: a row in `archive` is all that they ask for."""
    with closing(sqlite3.connect(filled(folder), isolation_level=None)) as connection:
        connection.execute("INSERT INTO archive VALUES (1, 4, 'x', '')")
        assert "no entry says so" in str(fault(folder))
        connection.execute("UPDATE entry SET text = NULL WHERE seq BETWEEN 2 AND 4")
    assert fault(folder) == "entry 2 has lost its text"
    with AuditDatabase(folder, frozen) as log:
        for body in ({}, {"last": 99}, {"last": "4"}):
            log.append("log.archive.done", body)
    assert fault(folder) == "entry 2 has lost its text"


def test_texts_erased_beyond_what_was_archived_are_found(folder: Path) -> None:
    with AuditDatabase(folder, days("2019-01-01")) as log:
        for number in range(20):
            log.append("act", {"n": number})
        done = archive_log(log, datetime(2019, 1, 10, tzinfo=UTC))
    assert done is not None and done.last == 9
    tampered(folder / "audit.db", "UPDATE archive SET last = 15")
    assert "entries 10 to 15 are said to be archived" in str(fault(folder))
    with closing(sqlite3.connect(folder / "audit.db", isolation_level=None)) as connection:
        connection.execute("UPDATE entry SET text = NULL WHERE seq = 12")
    assert fault(folder) == "entry 12 has lost its text"


def test_an_archive_within_a_later_one_that_is_elsewhere_is_no_fault(folder: Path) -> None:
    """What said that the first was archived left with the second."""
    with AuditDatabase(folder, days("2019-01-01")) as log:
        for number in range(20):
            log.append("act", {"n": number})
        assert archive_log(log, datetime(2019, 1, 10, tzinfo=UTC)) is not None
        log.append("act", {})
        second = archive_log(log, datetime(2019, 1, 26, tzinfo=UTC))
    assert second is not None and second.first == 10 and second.last > 22
    shutil.rmtree(second.folder)
    with AuditReader(folder) as log:
        found = log.verify()
        assert (found.fault, found.archived) == (None, second.last)
        assert found.absent == second.last - 9


def test_the_archive_of_a_log_set_aside_is_not_replaced_by_the_next_logs(folder: Path) -> None:
    def archived() -> Path:
        with AuditDatabase(folder, days("2019-01-01")) as log:
            for number in range(20):
                log.append("act", {"n": number})
            done = archive_log(log, datetime(2019, 1, 10, tzinfo=UTC))
        assert done is not None and (done.first, done.last) == (1, 9)
        return done.folder

    first = archived()
    kept = (first / "entries.jsonl").read_bytes()
    set_aside_by_hand(folder, "2026-01-01T00:00:00.000+00:00")
    second = archived()
    assert first != second and (first / "entries.jsonl").read_bytes() == kept
    with AuditReader(folder) as log:
        found = log.verify()
        assert (found.fault, found.absent) == (None, 0)


def test_no_text_leaves_the_database_but_for_an_archive(folder: Path) -> None:
    with AuditDatabase(folder, days("2019-01-01")) as log:
        for number in range(10):
            log.append("act", {"n": number})
        (folder / "archive").write_text("in the way")
        with pytest.raises(AuditError):
            archive_log(log, datetime(2026, 1, 1, tzinfo=UTC))
        assert log.archived() == 0 and log.get(5) is not None


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder in one that every user may enter, as those of pytest are not."""
    with tempfile.TemporaryDirectory() as base:
        Path(base).chmod(0o755)
        yield Path(base) / "log"


def test_a_read_only_folder_can_be_proved_but_not_written(open_folder: Path) -> None:
    """By a user for whom permissions count: root gives its rights away first."""
    folder = open_folder
    filled(folder)
    is_root = os.geteuid() == 0
    for path in [folder, *folder.rglob("*")]:
        if is_root:
            os.chown(path, 65534, 65534)
        path.chmod(0o500 if path.is_dir() else 0o400)
    script = (
        "import os, sys\n"
        "from pathlib import Path\n"
        "from appliance.edges.audit_db import AuditDatabase\n"
        "from appliance.edges.audit_reader import AuditReader\n"
        "from appliance.edges.clock import now\n"
        "from appliance.errors import AuditError\n"
        "if os.geteuid() == 0: os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        "here = Path(sys.argv[1])\n"
        "with AuditReader(here) as log: print(log.verify().fault)\n"
        "try: AuditDatabase(here, now).append('act', {})\n"
        "except AuditError as exc: print(exc.exit_code)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, folder], capture_output=True, text=True, check=False
    )
    assert done.stdout.split() == ["None", "4"], done.stderr


def test_an_entry_is_plain_json_in_the_database(folder: Path) -> None:
    with closing(sqlite3.connect(filled(folder))) as connection:
        (text,) = connection.execute("SELECT text FROM entry WHERE seq = 2").fetchone()
    assert json.loads(text)["body"]["list"] == [1, "é"]
