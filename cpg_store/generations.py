"""The vectors of an index in folders of its directory, of which the manifest names the one in use.

A folder in use is never written to: a change is made on a copy, which the manifest then names. So
readers need no lock, a killed writer leaves the old folder in use, and other vectors are put in
place without a gap. It knows nothing of documents.
"""

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from cpg_store.embed import Embedder
from cpg_store.errors import IndexDamaged, VectorsDamaged
from cpg_store.manifest import MANIFEST, embedder_of, made_with, read_manifest, write_manifest
from cpg_store.passage import Document, Passage
from cpg_store.storage import (
    REMAKE,
    copy_database,
    failure,
    make_private,
    vectors_failure,
    write_through,
)
from cpg_store.vectors import DATABASE_FILE, Vectors

_PREFIX = "vectors-"
_KEPT = 2
"""Folders kept: the one in use, and the one before it, from which a reader may still read."""


class Generations:
    """The folders of vectors of one index directory."""

    def __init__(self, directory: Path, wished: Embedder) -> None:
        """`wished`: the embedder that is used if the vectors are its own, and for a new index."""
        self._directory = directory
        self._wished = wished
        self._open: tuple[str, Embedder, Vectors] | None = None
        self._manifest_seen: tuple[int, int] | None = None

    def create(self) -> None:
        """Make the first folder and the manifest of a new index."""
        folder = f"{_PREFIX}1"
        Vectors.in_folder(self._directory / folder).close()
        self._put_in_use(folder, self._wished)

    def in_use(self) -> tuple[Embedder, Vectors]:
        """The vectors in use now and the embedder that made them. Raises: IndexDamaged."""
        seen = self._look_at_manifest()
        if self._open is None or seen != self._manifest_seen:
            manifest = read_manifest(self._directory)
            if manifest.vectors is None:
                message = f"the index belongs to the server {manifest.server}: {self._directory}"
                raise IndexDamaged(message, "give that `index_server` again, or move it away")
            if self._open is None or self._open[0] != manifest.vectors:
                self.close()
                embedder = embedder_of(manifest, self._wished, self._directory)
                folder = self._directory / manifest.vectors
                database = folder / DATABASE_FILE
                if not database.exists() or not database.stat().st_size:
                    raise VectorsDamaged(f"a part of the index is gone: {database}", REMAKE)
                self._open = manifest.vectors, embedder, Vectors.in_folder(folder)
            self._manifest_seen = seen
        return self._open[1:]

    def has_moved_on(self) -> bool:
        """Whether another process put other vectors in use since `in_use` was asked."""
        return self._look_at_manifest() != self._manifest_seen

    @contextmanager
    def changed(self) -> Iterator[Vectors]:
        """Give a copy of the vectors in use; at the end it is put in use."""
        embedder, _ = self.in_use()
        assert self._open is not None
        with self._next(embedder, self._directory / self._open[0]) as vectors:
            yield vectors

    @contextmanager
    def rebuilt(self) -> Iterator[Vectors]:
        """Give empty vectors of the embedder wished for; at the end they are put in use."""
        with self._next(self._wished) as vectors:
            yield vectors

    @contextmanager
    def _next(self, embedder: Embedder, source: Path | None = None) -> Iterator[Vectors]:
        last = max((_number(folder) for folder in self._folders()), default=0)
        folder = self._directory / f"{_PREFIX}{last + 1}"
        try:
            folder.mkdir(mode=0o700)
            if source:
                copy_folder(source, folder)
            with closing(Vectors.in_folder(folder)) as vectors:
                yield vectors
                vectors.count()  # Chroma takes what was added into its tables before it answers
            make_private(folder)
            write_through(folder)
        except OSError as exc:
            raise vectors_failure(exc, folder) from exc
        self._put_in_use(folder.name, embedder)

    def _put_in_use(self, folder: str, embedder: Embedder) -> None:
        write_manifest(self._directory, made_with(embedder, folder, None))

    def clean(self) -> None:
        """Delete folders that a killed writer left, and those that nobody reads any more."""
        used = _number(self._directory / str(read_manifest(self._directory).vectors))
        for folder in self._folders():
            if not used - _KEPT < _number(folder) <= used:
                shutil.rmtree(folder)

    def announce(self, document: Document) -> None:
        """Nobody else is told: whoever reads this directory reads its catalogue."""

    def withdraw(self, document_id: str) -> None:
        """Nobody else was told."""

    def holds(self, document_id: str) -> bool:
        """Whether others still use the document's vectors."""
        return False

    def kept_with(self, passage: Passage) -> dict[str, object]:
        """What the vectors keep of a passage beside its filters."""
        return {}

    def close(self) -> None:
        if self._open is not None:
            self._open[2].close()
            self._open = None

    def _folders(self) -> list[Path]:
        found = self._directory.glob(f"{_PREFIX}*")
        return [folder for folder in found if folder.name.removeprefix(_PREFIX).isdigit()]

    def _look_at_manifest(self) -> tuple[int, int]:
        try:
            found = (self._directory / MANIFEST).stat()
        except OSError as exc:
            raise failure(exc, "the index's manifest", self._directory) from exc
        return found.st_ino, found.st_mtime_ns


def _number(folder: Path) -> int:
    return int(folder.name.removeprefix(_PREFIX))


def copy_folder(source: Path, folder: Path) -> None:
    """Copy a folder of Chroma, its SQLite file by SQLite, which may be open elsewhere.

    Raises: OSError, VectorsDamaged, StorageFailed.
    """
    shutil.copytree(
        source, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns(f"{DATABASE_FILE}*")
    )
    try:
        copy_database(source / DATABASE_FILE, folder / DATABASE_FILE)
    except sqlite3.Error as exc:
        raise vectors_failure(exc, source) from exc
