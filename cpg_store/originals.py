"""The PDFs that passages come from, kept beside the index so that a page can be looked at.

Kept after a document is in the index, and looked for only while it is: what a killed process left
or lost here is no part of the index. It knows nothing of passages.
"""

from pathlib import Path

from cpg_store.errors import UnreadableDocument
from cpg_store.index import Index
from cpg_store.pdf import page_picture

FOLDER = "documents"


def keep_original(index: Index, document_id: str, content: bytes) -> None:
    """Keep the PDF that a document of the index was read from."""
    path = _path(index, document_id)
    path.parent.mkdir(mode=0o700, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_bytes(content)
    partial.chmod(0o600)
    partial.replace(path)


def carry_original(source: Index, target: Index, document_id: str) -> None:
    """Keep in `target`, too, what `source` keeps of a document; nothing when there is none."""
    path = _path(source, document_id)
    if path.exists():
        keep_original(target, document_id, path.read_bytes())


def forget_original(index: Index, document_id: str) -> None:
    """Remove what was kept of a document; nothing when there is none."""
    _path(index, document_id).unlink(missing_ok=True)


def document_page(index: Index, document_id: str, page: int) -> bytes:
    """Draw a page (from 1) of a document of the index, as a PNG.

    Raises: UnreadableDocument.
    """
    known = {document.document_id for document in index.documents()}
    path = _path(index, document_id)
    if document_id not in known or not path.exists():
        message = f"no pages are kept of document {document_id!r}"
        raise UnreadableDocument(message, "remove the document and add its PDF again")
    return page_picture(path.read_bytes(), page)


def _path(index: Index, document_id: str) -> Path:
    return index.directory / FOLDER / f"{document_id}.pdf"
