"""Documents carried from one index into another as they stand: nothing is read or split again.

Their vectors are made anew, by the embedder of the index that takes them.
"""

from collections.abc import Collection

from cpg_store.index import Index
from cpg_store.originals import carry_original


def carry_documents(source: Index, target: Index, document_ids: Collection[str]) -> None:
    """Add these documents of `source` to `target`, each whole or not at all; those that are there
    already stay as they are there.

    Raises: IndexBusy, IndexDamaged, StorageFailed.
    """
    for document in source.documents():
        if document.document_id in document_ids:
            target.add(document, source.catalogue.passages_of(document.document_id))
            carry_original(source, target, document.document_id)
