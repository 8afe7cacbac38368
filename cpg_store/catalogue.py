"""The truth about an index: one SQLite file with its documents, passages and lexical index.

A document is in the index when, and only when, its row is committed here. What is being added is
noted first as pending, so that leftovers elsewhere are known after a crash. It knows nothing of
vectors.
"""

import hashlib
import json
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cpg_store import lexical
from cpg_store.passage import DOCUMENT_ID, Document, Passage, passage_id
from cpg_store.scope import Scope, topics_of
from cpg_store.storage import failure, refuse_own_acts
from cpg_store.stored import plain, restored

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

CATALOGUE = "catalogue.sqlite3"

_OF_DOCUMENT = {
    "document": "title",
    "publisher": "publisher",
    "edition": "edition",
    "year": "year",
    "isbn": "isbn",
    "superseded_by": "superseded_by",
    "review_due": "review_due",
}
"""What a passage repeats of its document is stored once, with the document."""
_DOCUMENT_COLUMNS = tuple(field.name for field in fields(Document))
_PASSAGE_FIELDS = tuple(field.name for field in fields(Passage))
_PASSAGE_COLUMNS = tuple(name for name in _PASSAGE_FIELDS if name not in _OF_DOCUMENT)

_SCHEMA = f"""
CREATE TABLE IF NOT EXISTS documents ({", ".join(_DOCUMENT_COLUMNS)}, passages_sha256,
    head_terms, body_terms, PRIMARY KEY (document_id));
CREATE TABLE IF NOT EXISTS passages (number INTEGER PRIMARY KEY, {", ".join(_PASSAGE_COLUMNS)},
    topics, UNIQUE (passage_id));
CREATE INDEX IF NOT EXISTS passages_by_document ON passages (document_id, ordinal);
CREATE TABLE IF NOT EXISTS words (term, document_id, entries);
CREATE INDEX IF NOT EXISTS words_by_term ON words (term);
CREATE INDEX IF NOT EXISTS words_by_document ON words (document_id);
CREATE TABLE IF NOT EXISTS pending (document_id PRIMARY KEY);
"""

_SELECT_PASSAGE = (
    "SELECT passages.number, "
    + ", ".join(
        f"documents.{_OF_DOCUMENT[name]}" if name in _OF_DOCUMENT else f"passages.{name}"
        for name in _PASSAGE_FIELDS
    )
    + " FROM passages JOIN documents USING (document_id)"
)

_CACHED_TERMS = 4096
_READ_AT_ONCE = 50


class Catalogue:
    """One connection to the catalogue."""

    def __init__(self, path: Path) -> None:
        """Raises: IndexDamaged, StorageFailed."""
        self._path = path
        self._terms: dict[str, NDArray[Any] | None] = {}
        self._terms_of_version: tuple[int, int] | None = None
        with self._naming_damage():
            self._connection = sqlite3.connect(path, timeout=30, isolation_level=None)
            refuse_own_acts(self._connection, path)
            # A rollback journal, never WAL: older SQLite can corrupt WAL files with several
            # writers.
            self._connection.execute("PRAGMA journal_mode = TRUNCATE")
            self._connection.execute("PRAGMA synchronous = FULL")
            if not self._has_tables():
                self._connection.executescript(_SCHEMA)

    def _has_tables(self) -> bool:
        query = "SELECT count(*) FROM sqlite_master WHERE name IN ('documents', 'words', 'pending')"
        return bool(self._connection.execute(query).fetchone()[0] == 3)

    @contextmanager
    def _naming_damage(self) -> Iterator[None]:
        """Tell a damaged file from a disk that is full, read-only or failing."""
        try:
            yield
        except sqlite3.DatabaseError as exc:
            raise failure(exc, "the catalogue", self._path) from exc

    @contextmanager
    def _naming_nonsense(self) -> Iterator[None]:
        """The same of rows that SQLite gives and that are none of ours."""
        try:
            yield
        except (LookupError, TypeError, ValueError) as exc:
            raise failure(exc, "the catalogue", self._path) from exc

    def _all(self, query: str, values: Sequence[Any] = ()) -> list[Any]:
        with self._naming_damage():
            return self._connection.execute(query, values).fetchall()

    def close(self) -> None:
        self._connection.close()

    def documents(self) -> list[Document]:
        rows = self._all(
            f"SELECT {', '.join(_DOCUMENT_COLUMNS)} FROM documents ORDER BY title, document_id"
        )
        with self._naming_nonsense():
            return [
                restored(Document, dict(zip(_DOCUMENT_COLUMNS, row, strict=True))) for row in rows
            ]

    def digest(self) -> str:
        """Hash what the documents say of themselves and their passages: the same for the same
        content, whenever and in whichever order it was added."""
        rows = self._all(
            f"SELECT {', '.join(_DOCUMENT_COLUMNS)}, passages_sha256 FROM documents"
            " ORDER BY document_id"
        )
        return hashlib.sha256(json.dumps(rows).encode()).hexdigest()

    def pending(self) -> list[str]:
        """Give the documents whose adding or removing was begun and not finished."""
        return [row[0] for row in self._all("SELECT document_id FROM pending")]

    def begin(self, document_id: str) -> None:
        """Note that other files may soon hold something of this document."""
        self._all("INSERT OR IGNORE INTO pending VALUES (?)", (document_id,))

    def finish(self, document_id: str) -> None:
        self._all("DELETE FROM pending WHERE document_id = ?", (document_id,))

    def add(self, document: Document, passages: Sequence[Passage]) -> None:
        """Commit a document, its passages and their words at once, and end its pending."""
        with self._writing():
            numbers = []
            for passage in passages:
                topics = " ".join(sorted(topics_of(passage)))
                columns = [getattr(passage, name) for name in _PASSAGE_COLUMNS]
                numbers.append(self._insert("passages", [None, *columns, topics]))
            postings, heads, bodies = lexical.postings(
                (number, headings_of(passage), passage.text, passage.language)
                for number, passage in zip(numbers, passages, strict=True)
            )
            self._connection.executemany(
                "INSERT INTO words VALUES (?, ?, ?)",
                [(term, document.document_id, entries) for term, entries in postings.items()],
            )
            columns = [getattr(document, name) for name in _DOCUMENT_COLUMNS]
            self._insert("documents", [*columns, passages_digest(passages), heads, bodies])
            self.finish(document.document_id)

    def remove(self, document_id: str) -> None:
        """Take a document out of sight, leaving it pending until its vectors are gone too."""
        with self._writing():
            for table in ("words", "passages", "documents"):
                self._connection.execute(
                    f"DELETE FROM {table} WHERE document_id = ?", (document_id,)
                )
            self.begin(document_id)

    def restate(self, document: Document) -> None:
        """Note what a document of the catalogue now states of its edition."""
        stated = document.statements()
        self._all(
            f"UPDATE documents SET {', '.join(f'{name} = ?' for name in stated)}"
            " WHERE document_id = ?",
            [*map(plain, stated.values()), document.document_id],
        )

    def passages(self, passage_ids: Iterable[str]) -> dict[str, Passage]:
        """Give the committed passages among these ids."""
        wanted = list(passage_ids)
        rows = self._all(
            f"{_SELECT_PASSAGE} WHERE passages.passage_id IN ({_marks(wanted)})", wanted
        )
        return {passage.passage_id: passage for passage in self._restored(rows)}

    def kinds(
        self, numbers: Iterable[int], passage_ids: Iterable[str]
    ) -> list[tuple[int, str, str]]:
        """Give number, id and kind of the committed passages among these."""
        wanted, named = list(numbers), list(passage_ids)
        return self._all(
            f"SELECT number, passage_id, kind FROM passages WHERE number IN ({_marks(wanted)})"
            f" UNION SELECT number, passage_id, kind FROM passages"
            f" WHERE passage_id IN ({_marks(named)})",
            [*wanted, *named],
        )

    def topics(self, passage_ids: Iterable[str]) -> dict[str, set[str]]:
        """Give the topics of the committed passages among these ids."""
        wanted = list(passage_ids)
        query = f"SELECT passage_id, topics FROM passages WHERE passage_id IN ({_marks(wanted)})"
        return {name: set(topics.split()) for name, topics in self._all(query, wanted)}

    def _restored(self, rows: Iterable[Sequence[Any]]) -> list[Passage]:
        with self._naming_nonsense():
            return [
                restored(Passage, dict(zip(_PASSAGE_FIELDS, row[1:], strict=True))) for row in rows
            ]

    def continuing(self, document_id: str, first: int, last: int) -> dict[int, tuple[bool, int]]:
        """By ordinal, whether a passage goes on with the one before, and how many characters."""
        rows = self._all(
            "SELECT ordinal, continues, length(text) FROM passages"
            " WHERE document_id = ? AND ordinal BETWEEN ? AND ?",
            (document_id, first, last),
        )
        return {ordinal: (bool(continues), length) for ordinal, continues, length in rows}

    def numbers(self, passage_ids: Iterable[str]) -> dict[str, int]:
        """Give the numbers of the committed passages among these ids."""
        wanted = list(passage_ids)
        query = f"SELECT passage_id, number FROM passages WHERE passage_id IN ({_marks(wanted)})"
        return dict(self._all(query, wanted))

    def passages_of(self, document_id: str, first: int = 0, last: int = 1 << 60) -> list[Passage]:
        """Give a document's passages from ordinal `first` through `last`, in reading order."""
        rows = self._all(
            f"{_SELECT_PASSAGE} WHERE passages.document_id = ? AND ordinal BETWEEN ? AND ?"
            " ORDER BY ordinal",
            (document_id, first, last),
        )
        return self._restored(rows)

    def ids_of(self, document_id: str) -> list[str]:
        """Give the ids of a document's passages, in reading order."""
        query = "SELECT passage_id FROM passages WHERE document_id = ? ORDER BY ordinal"
        return [row[0] for row in self._all(query, (document_id,))]

    def sharing(
        self, asked: Mapping[tuple[str, ...], float], also: Iterable[str], scope: Scope
    ) -> "NDArray[np.float32]":
        """How much of what is asked each passage shares, by passage number.

        BM25F of the words asked for and of the terms `also`, as a share of what a passage full of
        every word asked for would have; 0 where the scope leaves the passage out.
        """
        query = dict.fromkeys(also, 1.0)
        query |= {stem: weight for stems, weight in asked.items() for stem in stems}
        with self._reading():
            totals = "SELECT sum(passages), sum(head_terms), sum(body_terms) FROM documents"
            passages, heads, bodies = (value or 0 for value in self._all(totals)[0])
            size = (self._all("SELECT max(number) FROM passages")[0][0] or 0) + 1
            entries = self._entries(query)
            within = self._within(scope, size)
        with self._naming_nonsense():
            found = lexical.scores(
                query, entries, passages, heads / max(passages, 1), bodies / max(passages, 1), size
            )
        if within is not None:
            found *= within
        best = lexical.best_possible(asked, entries, passages)
        return found / max(best, 1e-9)

    def holding_all(self, asked: Iterable[tuple[str, ...]]) -> Iterator[Passage]:
        """Give the passages in which, with their headings, each of these words stands, by any of
        its stems; in the order in which they were added."""
        numbers = self._holding_all(list(asked))
        for start in range(0, len(numbers), _READ_AT_ONCE):
            some = numbers[start : start + _READ_AT_ONCE]
            among = f"passages.number IN ({_marks(some)})"
            rows = self._all(f"{_SELECT_PASSAGE} WHERE {among} ORDER BY passages.number", some)
            yield from self._restored(rows)

    def _holding_all(self, asked: Sequence[tuple[str, ...]]) -> list[int]:
        import numpy as np

        entries = self._entries([stem for stems in asked for stem in stems])
        none: NDArray[np.uint32] = np.zeros(0, dtype=np.uint32)
        found: NDArray[np.uint32] | None = None
        for stems in asked:
            holding = [entries[stem]["number"] for stem in stems if stem in entries]
            numbers = np.unique(np.concatenate([none, *holding]))
            found = numbers if found is None else np.intersect1d(found, numbers)
        return [] if found is None else [int(number) for number in found]

    def _within(self, scope: Scope, size: int) -> "NDArray[np.bool_] | None":
        import numpy as np

        if scope.is_everything:
            return None
        condition, values = scope.sql()
        rows = self._all(f"SELECT number FROM passages WHERE {condition}", values)
        within = np.zeros(size, dtype=np.bool_)
        within[[row[0] for row in rows if row[0] < size]] = True
        return within

    def _entries(self, terms: Iterable[str]) -> "dict[str, NDArray[Any]]":
        """The entries of the terms that stand somewhere, kept while nothing is written."""
        data_version = self._all("PRAGMA data_version")[0][0]
        version = (data_version, self._connection.total_changes)
        if version != self._terms_of_version or len(self._terms) > _CACHED_TERMS:
            self._terms, self._terms_of_version = {}, version
        for term in terms:
            if term not in self._terms:
                rows = self._all("SELECT entries FROM words WHERE term = ?", (term,))
                with self._naming_nonsense():
                    joined = b"".join(row[0] for row in rows)
                    self._terms[term] = lexical.unpack(joined) if joined else None
        return {term: found for term in terms if (found := self._terms[term]) is not None}

    def problems(self) -> list[str]:
        """Say where the catalogue contradicts itself."""
        verdict = self._all("PRAGMA integrity_check")[0][0]
        found = [] if verdict == "ok" else [f"the catalogue is damaged: {verdict}"]
        for document_id, digest in self._all("SELECT document_id, passages_sha256 FROM documents"):
            passages = self.passages_of(document_id)
            ids = [passage_id(document_id, each.ordinal) for each in passages]
            is_named = DOCUMENT_ID.fullmatch(str(document_id))
            if not is_named or ids != [each.passage_id for each in passages]:
                found.append(f"document {document_id!r} or its passages have ids that are not ours")
            if passages_digest(passages) != digest:
                found.append(f"passages of document {document_id} are not as they were added")
            stored = dict(
                self._all("SELECT term, entries FROM words WHERE document_id = ?", (document_id,))
            )
            numbers = self.numbers(passage.passage_id for passage in passages)
            wanted, _, _ = lexical.postings(
                (numbers[each.passage_id], headings_of(each), each.text, each.language)
                for each in passages
            )
            if stored != wanted:
                found.append(f"words of document {document_id} are not those of its passages")
        return found

    def _insert(self, table: str, values: Sequence[Any]) -> int:
        stored = [plain(value) for value in values]
        insert = f"INSERT INTO {table} VALUES ({_marks(stored)})"
        number = self._connection.execute(insert, stored).lastrowid
        assert number is not None
        return number

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """One transaction, begun at once, so that a second writer waits and fails not half-way."""
        with self._naming_damage():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                if self._connection.in_transaction:  # a full disk has ended it already
                    self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")

    @contextmanager
    def _reading(self) -> Iterator[None]:
        """One view of the catalogue for several queries."""
        with self._naming_damage():
            self._connection.execute("BEGIN")
            try:
                yield
            finally:
                self._connection.execute("COMMIT")


def _marks(values: Sequence[Any]) -> str:
    return ", ".join("?" * len(values))


def headings_of(passage: Passage) -> str:
    """What stands over a passage: its document's title and its section path."""
    return f"{passage.document}\n{passage.section}"


def passages_digest(passages: Sequence[Passage]) -> str:
    """Hash passages in order, every field that is stored with them."""
    canonical = json.dumps(
        [[plain(getattr(passage, name)) for name in _PASSAGE_COLUMNS] for passage in passages]
    )
    return hashlib.sha256(canonical.encode()).hexdigest()


def asked_words(text: str) -> dict[tuple[str, ...], float]:
    """The words of a question in English or Malay by their stems, each with how often it stands."""
    return dict(Counter(lexical.words(text, ("en", "ms"))))
