"""The truth about an index: one SQLite file with its documents, passages and lexical index.

A document is in the index when, and only when, its row is committed here. What is being added is
noted first as pending, so that leftovers elsewhere are known after a crash. It knows nothing of
vectors.
"""

import hashlib
import json
import re
import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import asdict, astuple, fields
from pathlib import Path

from cpg_store.passage import Document, Passage

_DOCUMENT_COLUMNS = ", ".join(field.name for field in fields(Document))
_PASSAGE_COLUMNS = ", ".join(field.name for field in fields(Passage))

_SCHEMA = f"""
CREATE TABLE IF NOT EXISTS documents ({_DOCUMENT_COLUMNS}, passages_sha256,
    PRIMARY KEY (document_id));
CREATE TABLE IF NOT EXISTS passages (number INTEGER PRIMARY KEY, {_PASSAGE_COLUMNS},
    UNIQUE (passage_id));
CREATE INDEX IF NOT EXISTS passages_by_document ON passages (document_id);
CREATE TABLE IF NOT EXISTS pending (document_id PRIMARY KEY);
CREATE VIRTUAL TABLE IF NOT EXISTS words USING fts5 (text, section, document,
    tokenize = 'porter unicode61 remove_diacritics 2');
"""

# Words that carry no meaning in a query; bm25 would only spend time on them.
_STOP_WORDS = re.compile(
    r"\b(?:an?|and|are|as|at|be|by|for|from|has|have|in|is|it|its|of|on|or|that|the|this|to|was"
    r"|what|when|which|who|with)\b"
)


class Catalogue:
    """One connection to the catalogue."""

    def __init__(self, path: Path) -> None:
        self._connection = sqlite3.connect(path, timeout=30, isolation_level=None)
        # A rollback journal, never WAL: older SQLite can corrupt WAL files with several writers.
        self._connection.execute("PRAGMA journal_mode = TRUNCATE")
        self._connection.execute("PRAGMA synchronous = FULL")
        self._connection.executescript(_SCHEMA)

    def close(self) -> None:
        self._connection.close()

    def documents(self) -> list[Document]:
        rows = self._connection.execute(
            f"SELECT {_DOCUMENT_COLUMNS} FROM documents ORDER BY title, document_id"
        )
        return [Document(*row) for row in rows]

    def pending(self) -> list[str]:
        """Give the documents whose adding or removing was begun and not finished."""
        return [row[0] for row in self._connection.execute("SELECT document_id FROM pending")]

    def begin(self, document_id: str) -> None:
        """Note that other files may soon hold something of this document."""
        self._connection.execute("INSERT OR IGNORE INTO pending VALUES (?)", (document_id,))

    def finish(self, document_id: str) -> None:
        self._connection.execute("DELETE FROM pending WHERE document_id = ?", (document_id,))

    def add(self, document: Document, passages: Sequence[Passage]) -> None:
        """Commit a document, its passages and their words at once, and end its pending."""
        with self._transaction():
            self._insert("documents", (*astuple(document), passages_digest(passages)))
            for passage in passages:
                number = self._insert("passages", (None, *astuple(passage)))
                self._connection.execute(
                    "INSERT INTO words (rowid, text, section, document) VALUES (?, ?, ?, ?)",
                    (number, passage.text, passage.section, passage.document),
                )
            self.finish(document.document_id)

    def remove(self, document_id: str) -> None:
        """Take a document out of sight, leaving it pending until its vectors are gone too."""
        of_document = "WHERE document_id = ?"
        with self._transaction():
            self._connection.execute(
                f"DELETE FROM words WHERE rowid IN (SELECT number FROM passages {of_document})",
                (document_id,),
            )
            self._connection.execute(f"DELETE FROM passages {of_document}", (document_id,))
            self._connection.execute(f"DELETE FROM documents {of_document}", (document_id,))
            self.begin(document_id)

    def passages(self, passage_ids: Iterable[str]) -> dict[str, Passage]:
        """Give the committed passages among these ids."""
        wanted = list(passage_ids)
        rows = self._connection.execute(
            f"SELECT {_PASSAGE_COLUMNS} FROM passages"
            f" WHERE passage_id IN ({', '.join('?' * len(wanted))})",
            wanted,
        )
        return {row[0]: Passage(*row) for row in rows}

    def passages_of(self, document_id: str) -> list[Passage]:
        rows = self._connection.execute(
            f"SELECT {_PASSAGE_COLUMNS} FROM passages WHERE document_id = ? ORDER BY ordinal",
            (document_id,),
        )
        return [Passage(*row) for row in rows]

    def search_words(self, text: str, limit: int, document_id: str | None) -> list[str]:
        """Give the ids of the passages that best share words with `text`, best first."""
        query = _any_word_of(text)
        if not query:
            return []
        rows = self._connection.execute(
            "SELECT passages.passage_id FROM words JOIN passages ON passages.number = words.rowid"
            " WHERE words MATCH ? AND (? IS NULL OR passages.document_id = ?)"
            " ORDER BY bm25(words, 1.0, 1.0, 0.25), passages.passage_id LIMIT ?",
            (query, document_id, document_id, limit),
        )
        return [row[0] for row in rows]

    def problems(self) -> list[str]:
        """Say where the catalogue contradicts itself."""
        verdict = self._connection.execute("PRAGMA integrity_check").fetchone()[0]
        found = [] if verdict == "ok" else [f"the catalogue is damaged: {verdict}"]
        for document_id, digest in self._connection.execute(
            "SELECT document_id, passages_sha256 FROM documents"
        ).fetchall():
            if passages_digest(self.passages_of(document_id)) != digest:
                found.append(f"passages of document {document_id} are not as they were added")
        counts = "SELECT (SELECT count(*) FROM words), (SELECT count(*) FROM passages)"
        words, passages = self._connection.execute(counts).fetchone()
        if words != passages:
            found.append(f"the lexical index holds {words} passages, the catalogue {passages}")
        return found

    def _insert(self, table: str, values: tuple[object, ...]) -> int | None:
        marks = ", ".join("?" * len(values))
        return self._connection.execute(f"INSERT INTO {table} VALUES ({marks})", values).lastrowid

    def _transaction(self) -> "_Transaction":
        return _Transaction(self._connection)


class _Transaction:
    """Begins at once, so that a second writer waits instead of failing half-way."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def __enter__(self) -> None:
        self._connection.execute("BEGIN IMMEDIATE")

    def __exit__(self, kind: object, *_: object) -> None:
        self._connection.execute("ROLLBACK" if kind else "COMMIT")


def passages_digest(passages: Sequence[Passage]) -> str:
    """Hash passages in order, every field."""
    canonical = json.dumps([asdict(passage) for passage in passages], sort_keys=True)
    return hashlib.sha256(canonical.encode()).hexdigest()


def _any_word_of(text: str) -> str:
    """Write an FTS5 query for any word of `text`, each quoted so that none is an operator."""
    words = re.findall(r"\w+", _STOP_WORDS.sub(" ", text.casefold()))
    return " OR ".join(f'"{word}"' for word in dict.fromkeys(words))
