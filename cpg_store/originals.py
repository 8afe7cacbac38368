"""The PDFs that passages come from, kept beside the index so that a page can be looked at.

Kept before a document is in the index, and looked for only while it is: what a killed process left
or lost here is no part of the index. One that is not the file its document was read from is never
drawn. It knows nothing of passages.
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cpg_store.errors import UnreadableDocument
from cpg_store.index import Index
from cpg_store.passage import Document
from cpg_store.pdf import page_picture
from cpg_store.storage import failure

FOLDER = "documents"
_ADD_AGAIN = "add its PDF again"


def keep_original(index: Index, document: Document, content: bytes) -> None:
    """Keep the PDF that a document is read from; nothing when it is kept already.

    Raises: StorageFailed, IndexDamaged.
    """
    if _original(index, document) is not None:
        return
    with _naming_failure(index):
        path = _path(index, document.document_id)
        path.parent.mkdir(mode=0o700, exist_ok=True)
        partial = path.with_suffix(".partial")
        partial.write_bytes(content)
        partial.chmod(0o600)
        partial.replace(path)


def carry_original(source: Index, target: Index, document: Document) -> None:
    """Keep in `target`, too, what `source` keeps of a document; nothing when there is none.

    Raises: StorageFailed, IndexDamaged.
    """
    content = _original(source, document)
    if content is not None:
        keep_original(target, document, content)


def forget_original(index: Index, document_id: str) -> None:
    """Remove what was kept of a document; nothing when there is none.

    Raises: StorageFailed, IndexDamaged.
    """
    with _naming_failure(index):
        _path(index, document_id).unlink(missing_ok=True)


def document_page(index: Index, document_id: str, page: int) -> bytes:
    """Draw a page (from 1) of a document of the index, as a PNG.

    Raises: UnreadableDocument, StorageFailed, IndexDamaged.
    """
    known = {document.document_id: document for document in index.documents()}
    if document_id not in known or not _path(index, document_id).exists():
        raise UnreadableDocument(f"no pages are kept of document {document_id!r}", _ADD_AGAIN)
    content = _original(index, known[document_id])
    if content is None:
        raise UnreadableDocument(_altered(known[document_id]), _ADD_AGAIN)
    return page_picture(content, page)


def altered_originals(index: Index) -> list[str]:
    """Say of which documents another file is kept than they were read from."""
    return [
        f"{_altered(document)}; {_ADD_AGAIN}"
        for document in index.documents()
        if _path(index, document.document_id).exists() and _original(index, document) is None
    ]


def _altered(document: Document) -> str:
    return f"{document.title}: the pages kept are not of the file it was read from"


def _original(index: Index, document: Document) -> bytes | None:
    """The file that a document was read from; None where it is not kept, or another is."""
    path = _path(index, document.document_id)
    with _naming_failure(index):
        content = path.read_bytes() if path.exists() else b""
    return content if hashlib.sha256(content).hexdigest() == document.sha256 else None


@contextmanager
def _naming_failure(index: Index) -> Iterator[None]:
    try:
        yield
    except OSError as exc:
        raise failure(exc, "the folder of the documents", index.directory / FOLDER) from exc


def _path(index: Index, document_id: str) -> Path:
    return index.directory / FOLDER / f"{document_id}.pdf"
