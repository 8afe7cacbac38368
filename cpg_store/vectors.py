"""The vectors of an index, in an embedded Chroma collection. The only importer of chromadb.

Vectors are made elsewhere; Chroma never embeds, never serves and never reports home. What the
stored collection says about itself is read with plain SQLite before Chroma may act on it. It knows
passage and document ids, never text.
"""

import json
import os
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cpg_store.errors import IndexDamaged

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

REBUILD = "move the index directory away and add the documents again"

_COLLECTION = "passages"
_BATCH = 1000
_OWN_FUNCTION_TYPES = (None, "legacy", "unknown")
"""How Chroma writes down that a collection has no embedding function."""


@contextmanager
def _naming_damage() -> Iterator[None]:
    """Turn whatever Chroma raises over its files into our error; its own share no base class."""
    try:
        yield
    except Exception as exc:
        raise IndexDamaged(f"the vector index failed: {exc}", REBUILD) from exc


class Vectors:
    """The open collection."""

    def __init__(self, directory: Path) -> None:
        refuse_foreign_functions(directory / "chroma.sqlite3")
        os.environ["ANONYMIZED_TELEMETRY"] = "False"
        # chromadb takes over a second to load; only an open index needs it. The variable above
        # must stand before that.
        import chromadb
        from chromadb.config import Settings

        settings = Settings(anonymized_telemetry=False, allow_reset=False)
        with _naming_damage():
            self._client: Any = chromadb.PersistentClient(str(directory), settings=settings)
            self._collection: Any = self._client.get_or_create_collection(
                _COLLECTION, embedding_function=None, configuration={"hnsw": {"space": "cosine"}}
            )

    def close(self) -> None:
        self._client.close()

    @_naming_damage()
    def add(self, document_id: str, vectors: Mapping[str, "NDArray[np.float32]"]) -> None:
        """Add a document's vectors, by passage id."""
        ids = list(vectors)
        for start in range(0, len(ids), _BATCH):
            batch = ids[start : start + _BATCH]
            self._collection.upsert(
                ids=batch,
                embeddings=[vectors[each] for each in batch],
                metadatas=[{"document_id": document_id}] * len(batch),
            )

    @_naming_damage()
    def remove(self, document_id: str) -> None:
        self._collection.delete(where={"document_id": document_id})

    @_naming_damage()
    def ids_of(self, document_id: str) -> set[str]:
        found = self._collection.get(where={"document_id": document_id}, include=[])
        return set(found["ids"])

    @_naming_damage()
    def count(self) -> int:
        count: int = self._collection.count()
        return count

    @_naming_damage()
    def nearest(
        self,
        vector: "NDArray[np.float32]",
        limit: int,
        document_id: str | None = None,
        hidden_documents: Sequence[str] = (),
    ) -> list[str]:
        """Give the ids nearest to `vector`, nearest first."""
        where: dict[str, Any] | None = None
        if document_id:
            where = {"document_id": document_id}
        elif hidden_documents:
            where = {"document_id": {"$nin": list(hidden_documents)}}
        found = self._collection.query(
            query_embeddings=[vector], n_results=limit, where=where, include=[]
        )
        ids: list[str] = found["ids"][0]
        return ids

    @_naming_damage()
    def of(self, passage_ids: Sequence[str]) -> dict[str, "NDArray[np.float32]"]:
        """Give the stored vectors of these passages."""
        found = self._collection.get(ids=list(passage_ids), include=["embeddings"])
        return dict(zip(found["ids"], found["embeddings"], strict=True))


def refuse_foreign_functions(database: Path) -> None:
    """Refuse a collection that names an embedding function: Chroma would build it from its name.

    Raises: IndexDamaged.
    """
    if not database.exists():
        return
    try:
        connection = sqlite3.connect(f"file:{database}?mode=ro", uri=True)
        with connection:
            rows = connection.execute("SELECT name, config_json_str, schema_str FROM collections")
            configurations = [(name, text) for name, *texts in rows for text in texts if text]
        connection.close()
        functions = [
            (name, function)
            for name, text in configurations
            for function in _embedding_functions(json.loads(text))
        ]
    except (sqlite3.Error, ValueError) as exc:
        raise IndexDamaged(f"the vector index cannot be read: {database}", REBUILD) from exc
    for name, function in functions:
        if not _is_none(function):
            raise IndexDamaged(
                f"the index's collection {name!r} names an embedding function that is not ours:"
                f" {database}",
                REBUILD,
            )


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
