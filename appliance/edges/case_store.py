"""The case store: what a clinic keeps of its consultations, apart from the log, in SQLite.

De-identified pixels, path, note, reference, answer and verdict; readable by their owner only. A
case is shown once the log's entry for it is named (`prove`); what a crash left before that is
removed by the next opening. A purge overwrites what it removes and shortens the file. Blocks that
the disk let go of before are the disk encryption's business.
"""

import fcntl
import io
import json
import os
import secrets
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from appliance.core.cases import Case, Verdict, Wanted
from appliance.core.entry import Entry
from appliance.core.ports import Picture
from appliance.edges.audit_sqlite import connect, tables
from appliance.errors import CaseError
from appliance.private_files import make_private_folder

CASES_FILE = "cases.db"
LONG_UNSEEN = timedelta(days=31)
SCHEMA = (
    # `seq` and `hash` are of the log's entry, NULL until proved. `words` is what a text is
    # searched in beside reference and note: the path and the labels.
    "CREATE TABLE kept (case_id TEXT PRIMARY KEY, at TEXT NOT NULL, user TEXT NOT NULL,"
    " domain TEXT, decision TEXT NOT NULL, words TEXT NOT NULL, answer TEXT NOT NULL,"
    " size INTEGER NOT NULL, reference TEXT NOT NULL DEFAULT '', note TEXT NOT NULL DEFAULT '',"
    " verdict TEXT, corrected TEXT, impression TEXT NOT NULL DEFAULT '', seq INTEGER, hash TEXT)"
    " STRICT",
    "CREATE INDEX kept_by_time ON kept (at)",
    "CREATE TABLE picture (case_id TEXT PRIMARY KEY, png BLOB NOT NULL) STRICT",
    # One row: the day, in UTC, on which cases that are too old were last looked for.
    "CREATE TABLE retention (day TEXT NOT NULL) STRICT",
    "INSERT INTO retention VALUES ('')",
)
COLUMNS = (
    "case_id, at, user, answer, size, reference, note, verdict, corrected, impression, seq, hash"
)


class CaseStore:
    """`core.cases.Cases` in one folder, made on first use. For one thread at a time."""

    def __init__(self, folder: Path) -> None:
        """Raises: CaseError."""
        self.path = folder / CASES_FILE
        with self._errors("opened"):
            make_private_folder(folder)
            self.path.touch(mode=0o600)
            self.path.chmod(0o600)
            # Held shared from keeping a case to proving it; the system lets go of it for a
            # process that dies.
            self._keeping = os.open(folder / "keeping", os.O_CREAT | os.O_RDWR, 0o600)
            try:
                self._db = connect(self.path)
            except BaseException:
                os.close(self._keeping)
                raise
            try:
                self._db.execute("PRAGMA secure_delete = ON")
                # Instead of VACUUM, which writes a copy of everything to the system's own folder
                # for temporary files. Takes hold before the first table is made.
                self._db.execute("PRAGMA auto_vacuum = FULL")
                with self._transaction():
                    if not tables(self._db):
                        for statement in SCHEMA:
                            self._db.execute(statement)
                self._remove_unproved()
            except BaseException:
                self.close()
                raise

    def keep(self, asked: Entry, answer: Mapping[str, Any], picture: Picture | None) -> Case:
        case_id = secrets.token_hex(8)
        size = picture.size if picture else 0
        case = Case(case_id, asked.at, asked.user, {**answer, "case": case_id}, size)
        with self._errors("written"):
            fcntl.flock(self._keeping, fcntl.LOCK_SH)
            with self._transaction():
                self._db.execute(
                    "INSERT INTO kept (case_id, at, user, domain, decision, words, answer, size)"
                    " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                    [
                        *(case_id, case.at, case.user, answer["domain"], _decision(answer)),
                        *(_words(answer), json.dumps(case.answer), size),
                    ],
                )
                if picture:
                    png = _png(picture.rgb, picture.size)
                    self._db.execute("INSERT INTO picture VALUES (?, ?)", [case_id, png])
        return case

    def prove(self, case_id: str, seq: int, entry_hash: str) -> None:
        self._change(case_id, "seq = ?, hash = ?", [seq, entry_hash])
        fcntl.flock(self._keeping, fcntl.LOCK_UN)

    def get(self, case_id: str) -> Case | None:
        found = self._cases("WHERE case_id = ? AND seq IS NOT NULL", [case_id])
        return found[0] if found else None

    def find(self, wanted: Wanted, limit: int = 200) -> Sequence[Case]:
        conditions: list[tuple[str, object]] = [
            ("at >= ?", wanted.since),
            ("at < ?", wanted.until),
            ("user = ?", wanted.user),
            ("domain = ?", wanted.domain),
            ("decision = ?", wanted.decision),
            # Two texts that meet make no match: a line break is in none that a person types.
            (
                "instr(lower(words || char(10) || reference || char(10) || note), lower(?))",
                wanted.text or None,
            ),
        ]
        chosen = [(sql, value) for sql, value in conditions if value is not None]
        where = " AND ".join(["seq IS NOT NULL", *(sql for sql, _ in chosen)])
        values = [value for _, value in chosen]
        return self._cases(f"WHERE {where} ORDER BY at DESC, seq DESC LIMIT ?", [*values, limit])

    def count(self) -> int:
        """Raises: CaseError."""
        with self._errors("read"):
            (count,) = self._db.execute(
                "SELECT count(*) FROM kept WHERE seq IS NOT NULL"
            ).fetchone()
            return int(count)

    def oldest_proof(self) -> tuple[int, str] | None:
        """Number and hash of the log's entry for the oldest case. Raises: CaseError."""
        with self._errors("read"):
            row: tuple[int, str] | None = self._db.execute(
                "SELECT seq, hash FROM kept WHERE seq IS NOT NULL ORDER BY at, seq LIMIT 1"
            ).fetchone()
            return row

    def pixels(self, case_id: str) -> bytes | None:
        png = self.png(case_id)
        return None if png is None else _rgb(png, self.path)

    def png(self, case_id: str) -> bytes | None:
        """The de-identified picture as a PNG file. Raises: CaseError."""
        with self._errors("read"):
            row = self._db.execute(
                "SELECT png FROM picture JOIN kept USING (case_id)"
                " WHERE case_id = ? AND seq IS NOT NULL",
                [case_id],
            ).fetchone()
        return None if row is None else row[0]

    def annotate(self, case_id: str, *, reference: str, note: str) -> None:
        self._change(case_id, "reference = ?, note = ?", [reference, note])

    def judge(
        self, case_id: str, verdict: Verdict, corrected: Mapping[str, str] | None = None
    ) -> None:
        caption = json.dumps(dict(corrected)) if corrected else None
        self._change(case_id, "verdict = ?, corrected = ?", [verdict, caption])

    def impress(self, case_id: str, label: str) -> None:
        self._change(case_id, "impression = ?", [label])

    def purge(self, before: str) -> int:
        with self._errors("purged"):
            return self._delete("at < ?", [before])

    def due(self, today: datetime, days: int) -> str | None:
        """Before which time cases are to be purged now; None when that was done today, there are
        none, or nobody looked for so long that the clock may be wrong: then not before another day.
        Raises: CaseError."""
        before = (today - timedelta(days=days)).isoformat(timespec="milliseconds")
        with self._errors("read"):
            (day,) = self._db.execute("SELECT day FROM retention").fetchone()
            if days and day == today.date().isoformat():
                return None
            (is_any,) = self._db.execute(
                "SELECT EXISTS (SELECT 1 FROM kept WHERE at < ?)", [before]
            ).fetchone()
            may_be_wrong = day and today.date() - date.fromisoformat(day) > LONG_UNSEEN
            if is_any and not (days and may_be_wrong):
                return before
            self.looked(today)
        return None

    def looked(self, today: datetime) -> None:
        """Note that today's purge is done. Raises: CaseError."""
        with self._errors("written"), self._transaction():
            self._db.execute("UPDATE retention SET day = ?", [today.date().isoformat()])

    def close(self) -> None:
        self._db.close()
        os.close(self._keeping)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.close()

    def _remove_unproved(self) -> None:
        """Those of processes that are no more; while one keeps a case nobody's are touched."""
        left = self._db.execute("SELECT 1 FROM kept WHERE seq IS NULL LIMIT 1").fetchone()
        if left is None:
            return
        try:
            fcntl.flock(self._keeping, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return
        try:
            self._delete("seq IS NULL", [])
        finally:
            fcntl.flock(self._keeping, fcntl.LOCK_UN)

    def _delete(self, where: str, values: Sequence[object]) -> int:
        with self._transaction():
            self._db.execute(
                f"DELETE FROM picture WHERE case_id IN (SELECT case_id FROM kept WHERE {where})",
                values,
            )
            return self._db.execute(f"DELETE FROM kept WHERE {where}", values).rowcount

    def _change(self, case_id: str, change: str, values: Sequence[object]) -> None:
        with self._errors("written"):
            with self._transaction():
                sql = f"UPDATE kept SET {change} WHERE case_id = ?"
                is_there = self._db.execute(sql, [*values, case_id]).rowcount
            if not is_there:
                raise CaseError(f"no case {case_id!r}", "see `appliance cases list`")

    def _cases(self, where: str, values: Sequence[object]) -> list[Case]:
        with self._errors("read"):
            rows = self._db.execute(f"SELECT {COLUMNS} FROM kept {where}", values)
            return [_case(*row) for row in rows]

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._db.execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise

    @contextmanager
    def _errors(self, done: str) -> Iterator[None]:
        try:
            yield
        except (OSError, sqlite3.Error, ValueError) as exc:
            raise CaseError(
                f"the kept cases cannot be {done} ({exc}): {self.path}",
                "free disk space and check the folder's permissions; if the file is damaged,"
                " restore it from a backup or move it away",
            ) from exc


class UnopenedCases:
    """In the place of a store that could not be opened: a consultation goes on without it."""

    def __init__(self, why: CaseError) -> None:
        self._why = why

    def keep(self, asked: Entry, answer: Mapping[str, Any], picture: Picture | None) -> Case:
        raise self._why

    def prove(self, case_id: str, seq: int, entry_hash: str) -> None:
        raise self._why


def _case(
    case_id: str, at: str, user: str, answer: str, size: int, reference: str, note: str,
    verdict: Verdict | None, corrected: str | None, impression: str, seq: int, entry_hash: str,
) -> Case:  # fmt: skip
    return Case(
        case_id,
        at,
        user,
        {**json.loads(answer), "audit": {"seq": seq, "hash": entry_hash}},
        size,
        reference,
        note,
        verdict,
        json.loads(corrected) if corrected else None,
        impression,
    )


def _decision(answer: Mapping[str, Any]) -> str:
    has_failed = answer["error"] is not None or answer["decision"] is None
    return "refused" if has_failed else str(answer["decision"]["kind"])


def _words(answer: Mapping[str, Any]) -> str:
    labels = answer["decision"]["labels"] if answer["decision"] else ()
    caption = [answer["caption"]["label"]] if answer["caption"] else ()
    words = "\n".join([answer["image"]["path"], *dict.fromkeys([*labels, *caption])])
    return words.encode("utf-8", "replace").decode()  # a file's name may be no text


def _png(rgb: bytes, size: int) -> bytes:
    from PIL import Image  # only where a picture is kept or shown

    file = io.BytesIO()
    Image.frombytes("RGB", (size, size), rgb).save(file, "PNG", compress_level=1)
    return file.getvalue()


def _rgb(png: bytes, path: Path) -> bytes:
    from PIL import Image

    try:
        return Image.open(io.BytesIO(png), formats=("PNG",)).tobytes()
    except (OSError, SyntaxError, ValueError) as exc:
        raise CaseError(
            f"the picture of a case is damaged: {path}", "restore the cases from a backup"
        ) from exc
