"""Documents carried from one index into another as they stand: nothing is read or split again.

Their vectors are made anew, by the embedder of the index that takes them.
"""

from collections.abc import Collection

from cpg_store.index import Index
from cpg_store.originals import carry_original


def carry_documents(source: Index, target: Index, document_ids: Collection[str]) -> None:
    """Add these documents of `source` to `target`, each whole or not at all; of those that are
    there already, note what `source` states of their edition and whether they are in force.

    Raises: IndexBusy, IndexDamaged, StorageFailed.
    """
    for document in source.documents():
        if document.document_id not in document_ids:
            continue
        # Its pages first: a document that a killed process left there is not carried again.
        carry_original(source, target, document)
        present = target.document_with(document.sha256)
        if present:
            target.restate(present.restated(**document.statements()))
        else:
            target.add(document, source.catalogue.passages_of(document.document_id))
