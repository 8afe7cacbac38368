"""One index: catalogue and vectors, kept in step, in a directory or shared through a server.

A document is visible when the catalogue has committed it, which is the last step of adding and
the first of removing; what a killed process left elsewhere is never shown, and is cleaned before
the next write. It knows nothing of files, pages or ranking.
"""

import fcntl
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

from cpg_store.catalogue import CATALOGUE, Catalogue
from cpg_store.embed import Embedder
from cpg_store.errors import CpgStoreError, IndexBusy, IndexDamaged, IndexMissing
from cpg_store.generations import Generations
from cpg_store.making import make_all, vectors_by_id
from cpg_store.manifest import FORMAT, MANIFEST, read_format
from cpg_store.passage import Document, Passage
from cpg_store.replica import Replica
from cpg_store.scope import filters_of
from cpg_store.server import IndexServer
from cpg_store.storage import REBUILD, failure, make_private
from cpg_store.upgrade import upgrade
from cpg_store.vectors import Vectors

_LOCK = "lock"


class Index:
    """An open index. Many may read it while one adds."""

    def __init__(
        self,
        directory: Path,
        embedder: Embedder,
        server: IndexServer | None,
        before_writing: Callable[[], None],
    ) -> None:
        """Open with `Index.open`, which checks the directory first."""
        self.directory = directory
        self._before_writing = before_writing
        self.catalogue = Catalogue(directory / CATALOGUE)
        self._wished = embedder
        self._store: Generations | Replica
        try:
            if server:
                self._store = Replica(directory, embedder, server, self.catalogue)
            else:
                self._store = Generations(directory, embedder)
            make_private(directory)
        except OSError as exc:
            self.close()
            raise failure(exc, "the index", directory) from exc
        except BaseException:
            self.close()
            raise

    @classmethod
    def open(
        cls,
        directory: Path,
        embedder: Embedder,
        create: bool = False,
        server: IndexServer | None = None,
        to_rebuild: bool = False,
        before_writing: Callable[[], None] = lambda: None,
    ) -> "Index":
        """Open the index in `directory`; `create` it if there is none.

        With a `server` the directory holds a replica of what is there, which is always made. The
        index keeps to the embedder that made it as long as that is at hand: `rebuild` changes it.
        What is opened `to_rebuild` needs no vectors that can be read. `before_writing` is called
        when nobody else can write and nothing is changed yet; what it raises ends the change.

        Raises: IndexMissing, IndexDamaged, VectorsDamaged, EmbedderChanged, StorageFailed,
        ServerRefused.
        """
        if not (directory / MANIFEST).exists():
            if not create and not server:
                hint = "add a guideline document to create it"
                raise IndexMissing(f"there is no guideline index: {directory}", hint)
            _create(directory, embedder, server)
        elif read_format(directory) < FORMAT:
            with locked(directory):
                upgrade(directory, embedder)
        if not (directory / CATALOGUE).exists() or not (directory / CATALOGUE).stat().st_size:
            message = f"a part of the index is gone: {directory / CATALOGUE}"
            raise IndexDamaged(message, REBUILD)
        index = cls(directory, embedder, server, before_writing)
        try:
            if not to_rebuild:
                index.in_use()
        except BaseException:
            index.close()
            raise
        return index

    def close(self) -> None:
        self.catalogue.close()
        if hasattr(self, "_store"):
            self._store.close()

    def __enter__(self) -> "Index":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def in_use(self) -> tuple[Embedder, Vectors]:
        """The vectors to search now, and the embedder that made them."""
        return self._store.in_use()

    def has_moved_on(self) -> bool:
        """Whether another process changed the vectors since `in_use` was asked."""
        return self._store.has_moved_on()

    def documents(self) -> list[Document]:
        """Give the documents in the index, by title."""
        return self.catalogue.documents()

    def document_with(self, sha256: str) -> Document | None:
        """Give the document made from the file with this hash."""
        return next((each for each in self.documents() if each.sha256 == sha256), None)

    def add(self, document: Document, passages: Sequence[Passage]) -> bool:
        """Add a document whole, or not at all; False when it was there already."""
        embedder, _ = self.in_use()
        vectors = vectors_by_id(embedder, passages)
        with self._writing():
            if self.document_with(document.sha256):
                return False
            if self.in_use()[0].identity != embedder.identity:
                hint = "add the document again"
                raise IndexBusy(f"the index was rebuilt meanwhile: {self.directory}", hint)
            self.catalogue.begin(document.document_id)
            with self._store.changed() as changed:
                changed.add(vectors, [self._kept_of(passage) for passage in passages])
            self._store.announce(document)
            self.catalogue.add(document, passages)
        return True

    def _kept_of(self, passage: Passage) -> dict[str, Any]:
        return {**filters_of(passage), **self._store.kept_with(passage)}

    def remove(self, document_id: str) -> bool:
        """Remove a document; False when there is none of this id."""
        with self._writing():
            if document_id not in {each.document_id for each in self.documents()}:
                return False
            self._store.withdraw(document_id)
            self.catalogue.remove(document_id)
            self._clean()
        return True

    def restate(self, document: Document) -> None:
        """Note what a document of the index now states of its edition; nothing else changes."""
        if document in self.documents():
            return
        with self._writing():
            if self.document_with(document.sha256):  # nobody removed it meanwhile
                self.catalogue.restate(document)
                self._store.announce(document)

    @property
    def wants_rebuild(self) -> bool:
        """Whether it was made with another embedder than the one wished for."""
        return self.in_use()[0].identity != self._wished.identity

    def rebuild(self) -> None:
        """Make all vectors anew, with the embedder wished for, and then put them in use.

        Until then readers go on with the old ones. Raises: IndexBusy, StorageFailed.
        """
        with self._locked():
            self._store.clean()
            with self._store.rebuilt() as vectors:
                make_all(vectors, self.catalogue, self._wished, self._kept_of)
            for document_id in self.catalogue.pending():
                self.catalogue.finish(document_id)  # nothing of it is in the new vectors
            self._store.clean()

    def check(self) -> list[str]:
        """Say what is wrong with the index; an empty list means nothing is."""
        try:
            return self._problems()
        except CpgStoreError as exc:
            return [f"{exc.message}; {exc.hint}"]

    def _problems(self) -> list[str]:
        problems = self.catalogue.problems()
        documents = self.documents()
        _, vectors = self.in_use()
        for document in documents:
            stored = set(self.catalogue.ids_of(document.document_id))
            if len(stored) != document.passages:
                problems.append(f"{document.title}: {len(stored)} of {document.passages} passages")
            if vectors.ids_of(document.document_id) != stored:
                problems.append(f"{document.title}: vectors and passages differ")
        expected = sum(document.passages for document in documents)
        if not self.catalogue.pending() and vectors.count() != expected:
            problems.append(f"{vectors.count()} vectors for {expected} passages")
        if self.wants_rebuild:
            problems.append("the index was made with another embedder than the one that is set")
        return problems

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Hold the index for writing, cleaned of what an earlier writer left behind."""
        with self._locked():
            self._before_writing()
            self._clean()
            yield
            self._store.clean()

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with locked(self.directory):
            try:
                yield
            except OSError as exc:
                raise failure(exc, "the index", self.directory) from exc

    def _clean(self) -> None:
        self._store.clean()
        for document_id in self.catalogue.pending():
            if not self._store.holds(document_id):
                with self._store.changed() as changed:
                    changed.remove(document_id)
            self.catalogue.finish(document_id)


@contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Raises: IndexBusy, StorageFailed."""
    try:
        lock = (directory / _LOCK).open("w")
    except OSError as exc:
        raise failure(exc, "the index", directory) from exc
    with lock:
        (directory / _LOCK).chmod(0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            hint = "wait until it has finished, then try again"
            raise IndexBusy(f"another process is writing: {directory}", hint) from exc
        yield


def _create(directory: Path, embedder: Embedder, server: IndexServer | None) -> None:
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        leftovers = ("manifest.json.partial", _LOCK, CATALOGUE, f"{CATALOGUE}-journal", "vectors-1")
        # An index closes its directory to others and may be moved away whole: it lives alone.
        if {each.name for each in directory.iterdir()} - set(leftovers):
            hint = "give an empty directory for the index"
            message = f"the directory holds other files and no index: {directory}"
            raise IndexMissing(message, hint)
        directory.chmod(0o700)
        with locked(directory):
            Catalogue(directory / CATALOGUE).close()
            if server:
                Replica.create(directory, embedder, server)
            else:
                Generations(directory, embedder).create()
    except OSError as exc:
        raise failure(exc, "the index", directory) from exc
