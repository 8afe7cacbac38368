"""An index that a server shares among many boxes: its vectors there, its catalogue copied here.

A collection of the server holds the passages with their vectors, another a record of each whole
document, written last and removed first. The catalogue follows those records before each search,
so that words are looked up here and vectors there. Each embedder has collections of its own: boxes
change over when the documents are there.
"""

import fcntl
import json
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from cpg_store.catalogue import Catalogue
from cpg_store.embed import Embedder
from cpg_store.errors import IndexDamaged
from cpg_store.manifest import embedder_of, made_with, read_manifest, write_manifest
from cpg_store.passage import Document, Passage
from cpg_store.server import IndexServer
from cpg_store.storage import REBUILD
from cpg_store.stored import plain_fields, restored
from cpg_store.vectors import COLLECTION, Vectors

_RECORDS = "documents"
_LOCK = "following"
_ANYWHERE = 1.0
"""A record has no meaning to search by; Chroma wants a vector all the same."""


class Replica:
    """What a box has of the server's index."""

    def __init__(
        self, directory: Path, wished: Embedder, server: IndexServer, catalogue: Catalogue
    ) -> None:
        """Raises: ServerRefused, IndexDamaged, EmbedderChanged."""
        self._directory = directory
        self._server = server
        self._wished = wished
        self._catalogue = catalogue
        manifest = read_manifest(directory)
        if manifest.server != str(server):
            message = f"the index is not one of the server {server}: {directory}"
            raise IndexDamaged(message, "give another home, or move the index directory away")
        if manifest.embedder != wished.identity and self._has_documents(wished):
            self._change_over()
        else:
            self._use(embedder_of(manifest, wished, directory))

    @staticmethod
    def create(directory: Path, embedder: Embedder, server: IndexServer) -> None:
        write_manifest(directory, made_with(embedder, None, str(server)))

    def _has_documents(self, embedder: Embedder) -> bool:
        with closing(self._open(embedder, _RECORDS)) as records:
            return bool(records.count())

    def _change_over(self) -> None:
        write_manifest(self._directory, made_with(self._wished, None, str(self._server)))
        self._use(self._wished)

    def _use(self, embedder: Embedder) -> None:
        self._embedder = embedder
        self._vectors = self._open(embedder, COLLECTION)
        self._records = self._open(embedder, _RECORDS)

    def _open(self, embedder: Embedder, collection: str) -> Vectors:
        return Vectors.on_server(self._server, f"{collection}-{embedder.identity[:16]}")

    def in_use(self) -> tuple[Embedder, Vectors]:
        self._follow()
        return self._embedder, self._vectors

    def has_moved_on(self) -> bool:
        return False

    def _follow(self) -> None:
        """Make the catalogue hold the documents that the server holds."""
        there = self._announced()
        if there == self._here():
            return
        with (self._directory / _LOCK).open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # one process of the box copies, the others wait
            here = self._here()
            for document_id in here:
                if there.get(document_id) != here[document_id]:
                    self._catalogue.remove(document_id)
                    self._catalogue.finish(document_id)
            for document_id, document in there.items():
                if here.get(document_id) != document:
                    self._catalogue.add(document, self._passages(document))

    def _here(self) -> dict[str, Document]:
        return {document.document_id: document for document in self._catalogue.documents()}

    def _announced(self) -> dict[str, Document]:
        try:
            found = [
                restored(Document, json.loads(each["document"]))
                for each in self._records.metadatas()
            ]
        except (LookupError, TypeError, ValueError) as exc:
            raise IndexDamaged(f"a document's record is damaged: {self._server}", REBUILD) from exc
        return {document.document_id: document for document in found}

    def _passages(self, document: Document) -> list[Passage]:
        kept = self._vectors.metadatas({"document_id": document.document_id})
        try:
            passages = [restored(Passage, json.loads(each["passage"])) for each in kept]
        except (LookupError, TypeError, ValueError) as exc:
            raise IndexDamaged(f"a passage is damaged: {self._server}", REBUILD) from exc
        if len(passages) != document.passages:
            message = f"{document.title}: {len(passages)} of {document.passages} passages"
            raise IndexDamaged(f"{message}: {self._server}", REBUILD)
        return sorted(passages, key=lambda passage: passage.ordinal)

    @contextmanager
    def changed(self) -> Iterator[Vectors]:
        yield self._vectors

    @contextmanager
    def rebuilt(self) -> Iterator[Vectors]:
        """Give the collection of the embedder wished for; then announce the documents there."""
        with closing(self._open(self._wished, COLLECTION)) as vectors:
            yield vectors
        self.close()
        self._change_over()
        for document in self._catalogue.documents():
            self.announce(document)

    def announce(self, document: Document) -> None:
        """Write the record by which every box sees the document."""
        import numpy as np

        record = {
            "document_id": document.document_id,
            "document": json.dumps(plain_fields(document)),
        }
        anywhere = np.array([_ANYWHERE], dtype=np.float32)
        self._records.add({document.document_id: anywhere}, [record])

    def withdraw(self, document_id: str) -> None:
        self._records.remove(document_id)

    def holds(self, document_id: str) -> bool:
        """Whether another box has added it whole meanwhile."""
        return bool(self._records.ids_of(document_id))

    def kept_with(self, passage: Passage) -> dict[str, object]:
        return {"passage": json.dumps(plain_fields(passage), ensure_ascii=False)}

    def clean(self) -> None:
        """The server keeps no old folders."""

    def close(self) -> None:
        self._vectors.close()
        self._records.close()
