"""The vectors of an index, in a Chroma collection. The only importer of chromadb.

The collection lies in a folder, opened in this process, or on a server of a district office.
Vectors are made elsewhere; Chroma never embeds, never serves and never reports home. What a stored
collection says about itself is read before Chroma may act on it, from its SQLite file or from the
server's answer. It knows passage and document ids and what a filter needs, never text.
"""

import json
import os
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cpg_store.errors import CpgStoreError, IndexDamaged
from cpg_store.server import IndexServer
from cpg_store.storage import REBUILD, refuse_own_acts, vectors_failure

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

COLLECTION = "passages"
DATABASE_FILE = "chroma.sqlite3"
_BATCH = 1000
_OWN_FUNCTION_TYPES = (None, "legacy", "unknown")
"""How Chroma writes down that a collection has no embedding function."""
_COSINE = {"hnsw": {"space": "cosine"}}


class Vectors:
    """The open collection."""

    def __init__(self, client: Any, collection: Any, place: str) -> None:
        """Open with `in_folder` or `on_server`, which look before Chroma does."""
        self._client = client
        self._collection = collection
        self._place = place

    @classmethod
    def in_folder(cls, folder: Path, collection: str = COLLECTION) -> "Vectors":
        """Open the collection in `folder`, made if there is none. Raises: IndexDamaged."""
        refuse_foreign_functions(folder / DATABASE_FILE)
        chromadb, settings = _chromadb()
        with _naming_damage(str(folder)):
            client = chromadb.PersistentClient(str(folder), settings=settings)
            opened = client.get_or_create_collection(
                collection, embedding_function=None, configuration=_COSINE
            )
        return cls(client, opened, str(folder))

    @classmethod
    def on_server(cls, server: IndexServer, collection: str = COLLECTION) -> "Vectors":
        """Open a collection of `server`, made if there is none.

        Raises: ServerRefused, IndexDamaged.
        """
        server.refuse_older()
        refuse_foreign_configuration(server.stored_configuration(collection), str(server))
        chromadb, settings = _chromadb()
        with _naming_damage(str(server)):
            client = chromadb.HttpClient(
                host=server.host, port=server.port, ssl=server.is_encrypted, settings=settings
            )
            opened = client.get_or_create_collection(
                collection, embedding_function=None, configuration=_COSINE
            )
        return cls(client, opened, str(server))

    def close(self) -> None:
        # The client of a server, and the second one in it, leave their connections open.
        for client in (self._client, getattr(self._client, "_admin_client", None)):
            session = getattr(getattr(client, "_server", None), "_session", None)
            if session is not None:
                session.close()
        self._client.close()

    def add(
        self,
        vectors: Mapping[str, "NDArray[np.float32]"],
        metadatas: Sequence[Mapping[str, Any]],
    ) -> None:
        """Add vectors by passage id, with what a filter or a reader needs of each."""
        ids = list(vectors)
        with _naming_damage(self._place):
            for start in range(0, len(ids), _BATCH):
                batch = ids[start : start + _BATCH]
                self._collection.upsert(
                    ids=batch,
                    embeddings=[vectors[each] for each in batch],
                    metadatas=list(metadatas[start : start + _BATCH]),
                )

    def remove(self, document_id: str) -> None:
        with _naming_damage(self._place):
            self._collection.delete(where={"document_id": document_id})

    def ids_of(self, document_id: str) -> set[str]:
        with _naming_damage(self._place):
            found = self._collection.get(where={"document_id": document_id}, include=[])
        return set(found["ids"])

    def metadatas(self, where: dict[str, Any] | None = None) -> list[dict[str, Any]]:
        """Give what is kept beside the vectors, of all or of those that match."""
        with _naming_damage(self._place):
            found = self._collection.get(where=where, include=["metadatas"])
        return [dict(each) for each in found["metadatas"]]

    def count(self) -> int:
        with _naming_damage(self._place):
            count: int = self._collection.count()
        return count

    def nearest(
        self,
        vector: "NDArray[np.float32]",
        limit: int,
        conditions: Sequence[dict[str, Any]] = (),
    ) -> dict[str, float]:
        """Give the ids nearest to `vector` with their cosines, nearest first."""
        where = {"$and": list(conditions)} if len(conditions) > 1 else None
        with _naming_damage(self._place):
            found = self._collection.query(
                query_embeddings=[vector],
                n_results=limit,
                where=where or (conditions[0] if conditions else None),
                include=["distances"],
            )
        pairs = zip(found["ids"][0], found["distances"][0], strict=True)
        return {passage_id: 1 - float(distance) for passage_id, distance in pairs}

    def nearest_kept(
        self, vector: "NDArray[np.float32]", limit: int
    ) -> list[tuple[str, float, dict[str, Any]]]:
        """Give id, cosine and what is kept of each of the nearest, nearest first."""
        with _naming_damage(self._place):
            found = self._collection.query(
                query_embeddings=[vector], n_results=limit, include=["distances", "metadatas"]
            )
        rows = zip(found["ids"][0], found["distances"][0], found["metadatas"][0], strict=True)
        return [(each, 1 - float(distance), dict(kept)) for each, distance, kept in rows]

    def of(self, passage_ids: Sequence[str]) -> dict[str, "NDArray[np.float32]"]:
        """Give the stored vectors of these passages."""
        if not passage_ids:
            return {}
        with _naming_damage(self._place):
            found = self._collection.get(ids=list(passage_ids), include=["embeddings"])
        return dict(zip(found["ids"], found["embeddings"], strict=True))


@contextmanager
def _naming_damage(place: str) -> Iterator[None]:
    """Turn whatever Chroma raises over its files into our error; its own share no base class."""
    try:
        yield
    except CpgStoreError:
        raise
    except Exception as exc:
        raise vectors_failure(exc, place) from exc


def _chromadb() -> tuple[Any, Any]:
    os.environ["ANONYMIZED_TELEMETRY"] = "False"
    # chromadb takes over a second to load; only an open index needs it. The variable above must
    # stand before that.
    import chromadb
    from chromadb.config import Settings

    return chromadb, Settings(anonymized_telemetry=False, allow_reset=False)


def refuse_foreign_functions(database: Path) -> None:
    """Refuse a collection that names an embedding function: Chroma would build it from its name.

    Raises: IndexDamaged.
    """
    if not database.exists():
        return
    try:
        connection = sqlite3.connect(f"file:{database}?mode=ro", uri=True)
        try:
            refuse_own_acts(connection, database)
            rows = connection.execute("SELECT config_json_str, schema_str FROM collections")
            texts = [text for row in rows for text in row if text]
        finally:
            connection.close()
        configurations = [json.loads(text) for text in texts]
    except (sqlite3.Error, ValueError) as exc:
        raise vectors_failure(exc, database) from exc
    refuse_foreign_configuration(configurations, str(database))


def refuse_foreign_configuration(stored: Any, place: str) -> None:
    """Raises: IndexDamaged when a stored configuration names an embedding function."""
    for function in _embedding_functions(stored):
        if not _is_none(function):
            message = f"the index names an embedding function that is not ours: {place}"
            raise IndexDamaged(message, REBUILD)


def _embedding_functions(node: Any) -> Iterator[Any]:
    """Find every embedding function in a stored configuration, however deep."""
    if isinstance(node, dict):
        for key, value in node.items():
            if key == "embedding_function":
                yield value
            yield from _embedding_functions(value)
    elif isinstance(node, list):
        for value in node:
            yield from _embedding_functions(value)


def _is_none(function: Any) -> bool:
    if not isinstance(function, dict):
        return function is None
    return function.get("type") in _OWN_FUNCTION_TYPES and not function.get("name")
