"""One index directory: manifest, catalogue and vectors, kept in step.

A document is visible when the catalogue has committed it, which is the last step of adding and
the first of removing; what a killed process left in the vectors is never shown, and is cleaned
before the next write. It knows nothing of files, pages or ranking.
"""

import fcntl
import json
import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

from cpg_store.catalogue import Catalogue
from cpg_store.embed import Embedder
from cpg_store.errors import EmbedderChanged, IndexBusy, IndexDamaged, IndexMissing
from cpg_store.passage import Document, Passage
from cpg_store.vectors import REBUILD, Vectors

FORMAT = 1

_MANIFEST = "manifest.json"
_CATALOGUE = "catalogue.sqlite3"
_VECTORS = "chroma"
_LOCK = "lock"


class Index:
    """An open index. Many may read it while one adds."""

    def __init__(self, directory: Path, embedder: Embedder) -> None:
        """Open with `Index.open`, which checks the directory first."""
        self.directory = directory
        self.embedder = embedder
        try:
            self.catalogue = Catalogue(directory / _CATALOGUE)
        except sqlite3.DatabaseError as exc:
            raise IndexDamaged(f"the catalogue cannot be read: {directory}", REBUILD) from exc
        try:
            self.vectors = Vectors(directory / _VECTORS)
        except BaseException:
            self.catalogue.close()
            raise
        _make_private(directory)

    @classmethod
    def open(cls, directory: Path, embedder: Embedder, create: bool = False) -> "Index":
        """Open the index in `directory`, made with this `embedder`; `create` it if there is none.

        Raises: IndexMissing, IndexDamaged, EmbedderChanged.
        """
        if not (directory / _MANIFEST).exists():
            if not create:
                hint = "add a guideline document to create it"
                raise IndexMissing(f"there is no guideline index: {directory}", hint)
            _create(directory, embedder)
        _check_manifest(_read_manifest(directory), embedder, directory)
        _refuse_loss(directory)
        return cls(directory, embedder)

    def close(self) -> None:
        self.catalogue.close()
        self.vectors.close()

    def __enter__(self) -> "Index":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def documents(self) -> list[Document]:
        """Give the documents in the index, by title."""
        return self.catalogue.documents()

    def document_with(self, sha256: str) -> Document | None:
        """Give the document made from the file with this hash."""
        return next((each for each in self.documents() if each.sha256 == sha256), None)

    def add(self, document: Document, passages: Sequence[Passage]) -> bool:
        """Add a document whole, or not at all; False when it was there already."""
        vectors = self.embedder.embed([embedded_text(passage) for passage in passages])
        with self._writing():
            if self.document_with(document.sha256):
                return False
            self.catalogue.begin(document.document_id)
            by_id = {passage.passage_id: vectors[row] for row, passage in enumerate(passages)}
            self.vectors.add(document.document_id, by_id)
            self.catalogue.add(document, passages)
        return True

    def remove(self, document_id: str) -> bool:
        """Remove a document; False when there is none of this id."""
        with self._writing():
            if document_id not in {each.document_id for each in self.documents()}:
                return False
            self.catalogue.remove(document_id)
            self._clean()
        return True

    def check(self) -> list[str]:
        """Say what is wrong with the index; an empty list means nothing is."""
        try:
            return self._problems()
        except (sqlite3.DatabaseError, IndexDamaged) as exc:
            return [f"the index cannot be read through: {exc}"]

    def _problems(self) -> list[str]:
        problems = self.catalogue.problems()
        documents = self.documents()
        for document in documents:
            stored = {each.passage_id for each in self.catalogue.passages_of(document.document_id)}
            if len(stored) != document.passages:
                problems.append(f"{document.title}: {len(stored)} of {document.passages} passages")
            if self.vectors.ids_of(document.document_id) != stored:
                problems.append(f"{document.title}: vectors and passages differ")
        expected = sum(document.passages for document in documents)
        if not self.catalogue.pending() and self.vectors.count() != expected:
            problems.append(f"{self.vectors.count()} vectors for {expected} passages")
        if _read_manifest(self.directory).get("embedder") != self.embedder.identity:
            problems.append("the index was made with another embedder")
        return problems

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Hold the index for writing, cleaned of what an earlier writer left behind."""
        with (self.directory / _LOCK).open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as exc:
                hint = "wait until it has finished, then try again"
                raise IndexBusy(f"another process is writing: {self.directory}", hint) from exc
            self._clean()
            try:
                yield
            finally:
                _make_private(self.directory)

    def _clean(self) -> None:
        for document_id in self.catalogue.pending():
            self.vectors.remove(document_id)
            self.catalogue.finish(document_id)


def embedded_text(passage: Passage) -> str:
    """Write what is embedded: a passage seldom repeats what its headings say."""
    return f"{passage.document}. {passage.section}\n{passage.text}"


def _refuse_loss(directory: Path) -> None:
    """An index once written to has both its stores: opening would make a lost one anew, empty."""
    if not (directory / _LOCK).exists():
        return
    for part in (directory / _CATALOGUE, directory / _VECTORS / "chroma.sqlite3"):
        if not part.exists() or not part.stat().st_size:
            raise IndexDamaged(f"a part of the index is gone: {part}", REBUILD)


def _create(directory: Path, embedder: Embedder) -> None:
    # Chroma's library version is recorded for whoever must read the files later.
    from importlib.metadata import version

    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    partial = directory / f"{_MANIFEST}.partial"
    # An index closes its directory to others and may be moved away whole: it lives alone.
    if set(directory.iterdir()) - {partial}:
        hint = "give an empty directory for the index"
        raise IndexMissing(f"the directory holds other files and no index: {directory}", hint)
    directory.chmod(0o700)
    manifest = {"format": FORMAT, "embedder": embedder.identity, "chromadb": version("chromadb")}
    partial.write_text(json.dumps(manifest, indent=2) + "\n")
    partial.replace(directory / _MANIFEST)


def _read_manifest(directory: Path) -> dict[str, Any]:
    try:
        manifest = json.loads((directory / _MANIFEST).read_text())
    except (OSError, ValueError) as exc:
        raise IndexDamaged(f"the index's manifest cannot be read: {directory}", REBUILD) from exc
    if not isinstance(manifest, dict):
        raise IndexDamaged(f"the index's manifest is not an object: {directory}", REBUILD)
    return manifest


def _check_manifest(manifest: dict[str, Any], embedder: Embedder, directory: Path) -> None:
    if manifest.get("format") != FORMAT:
        message = f"the index has format {manifest.get('format')}, not {FORMAT}: {directory}"
        raise IndexDamaged(message, REBUILD)
    if manifest.get("embedder") != embedder.identity:
        raise EmbedderChanged(f"the index was made with another embedder: {directory}", REBUILD)


def _make_private(directory: Path) -> None:
    """Close the index to other users; the directory itself is closed before anything is in it."""
    directory.chmod(0o700)
    for folder, folders, files in os.walk(directory):
        for name in folders:
            Path(folder, name).chmod(0o700)
        for name in files:
            Path(folder, name).chmod(0o600)
