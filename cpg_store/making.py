"""Making vectors: what of a passage is embedded, and those of a whole catalogue."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from cpg_store.catalogue import Catalogue, headings_of
from cpg_store.embed import Embedder
from cpg_store.passage import Passage
from cpg_store.scope import filters_of
from cpg_store.vectors import Vectors

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def embedded_text(passage: Passage) -> str:
    """Write what is embedded: a passage seldom repeats what its headings say."""
    return f"{headings_of(passage)}\n{passage.text}"


def vectors_by_id(
    embedder: Embedder, passages: Sequence[Passage]
) -> "dict[str, NDArray[np.float32]]":
    made = embedder.embed([embedded_text(passage) for passage in passages])
    return {passage.passage_id: made[row] for row, passage in enumerate(passages)}


def make_all(
    vectors: Vectors,
    catalogue: Catalogue,
    embedder: Embedder,
    kept_of: Callable[[Passage], dict[str, Any]] = filters_of,
) -> None:
    """Add the vectors of every passage of the catalogue, with what is kept of each."""
    for document in catalogue.documents():
        passages = catalogue.passages_of(document.document_id)
        vectors.add(vectors_by_id(embedder, passages), [kept_of(each) for each in passages])
