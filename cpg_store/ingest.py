"""Adding one document: file -> pages -> pieces -> passages -> index.

What a file is, its content decides. It owns the order of the steps and the identity of documents
and passages; it knows nothing of how each step is done.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from cpg_store.errors import UnreadableDocument
from cpg_store.imprint import read_imprint
from cpg_store.index import Index
from cpg_store.markdown import read_markdown
from cpg_store.page import Reading
from cpg_store.passage import Document, Passage, passage_id
from cpg_store.pdf import read_pdf
from cpg_store.split import split

MAX_FILE_BYTES = 200 << 20
_MARKDOWN_SUFFIXES = (".md", ".markdown")
_PDF_MAGIC = b"%PDF-"
_PDF_MAGIC_WITHIN = 1024


@dataclass(frozen=True)
class AddedDocument:
    """What adding came to."""

    document: Document
    was_new: bool
    """False when the same file was in the index already, and nothing was done."""


def add_document(
    index: Index,
    path: Path,
    title: str | None = None,
    edition: str | None = None,
    year: int | None = None,
) -> AddedDocument:
    """Read the document at `path` and add its passages to `index`.

    Raises: UnreadableDocument and its kinds, IndexBusy.
    """
    content = _content(path)
    sha256 = hashlib.sha256(content).hexdigest()
    present = index.document_with(sha256)
    if present:
        return AddedDocument(present, was_new=False)
    reading = _read(content, path)
    imprint = read_imprint(reading, path.stem)
    document_id = sha256[:16]
    title = title or imprint.title
    passages = [
        Passage(
            passage_id=passage_id(document_id, ordinal),
            document_id=document_id,
            ordinal=ordinal,
            document=title,
            edition=edition or imprint.edition,
            year=year or imprint.year,
            **{**vars(piece), "section": piece.section.removeprefix(f"{imprint.title} > ")},
        )
        for ordinal, piece in enumerate(split(reading.pages))
    ]
    if not passages:
        raise UnreadableDocument(
            f"the document holds no text: {path}", "check that it is the right file"
        )
    document = Document(
        document_id=document_id,
        sha256=sha256,
        file_name=path.name,
        title=title,
        edition=edition or imprint.edition,
        year=year or imprint.year,
        pages=len(reading.pages) if reading.pages[0].number else None,
        passages=len(passages),
        scanned_pages=reading.scanned_pages,
        hidden_spans=reading.hidden_spans,
    )
    was_new = index.add(document, passages)
    return AddedDocument(document, was_new)


def _content(path: Path) -> bytes:
    if path.is_dir():
        raise UnreadableDocument(
            f"this is a folder, not a document: {path}", "add its files one by one"
        )
    if path.exists() and not path.is_file():
        raise UnreadableDocument(f"this is a device or pipe: {path}", "add a file")
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            message = f"the document is larger than {MAX_FILE_BYTES >> 20} MiB: {path}"
            raise UnreadableDocument(message, "split it into smaller files and add them one by one")
        return path.read_bytes()
    except FileNotFoundError as exc:
        raise UnreadableDocument(
            f"no such file: {path}", "check the path and its spelling"
        ) from exc
    except OSError as exc:
        message = f"the file cannot be read: {path}: {exc.strerror}"
        raise UnreadableDocument(message, "check its permissions, or copy it again") from exc


def _read(content: bytes, path: Path) -> Reading:
    if _PDF_MAGIC in content[:_PDF_MAGIC_WITHIN] or path.suffix.lower() == ".pdf":
        return read_pdf(content, str(path))
    if path.suffix.lower() in _MARKDOWN_SUFFIXES and b"\0" not in content:
        try:
            return read_markdown(content.decode())
        except UnicodeDecodeError as exc:
            message = f"the Markdown is not UTF-8 text: {path}"
            raise UnreadableDocument(message, "save it again as UTF-8") from exc
    raise UnreadableDocument(f"neither a PDF nor Markdown: {path}", "add a .pdf or .md file")
