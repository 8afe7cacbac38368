"""Adding one document: file -> pages -> pieces -> passages -> index.

What a file is, its content decides. It owns the order of the steps and the identity of documents
and passages; it knows nothing of how each step is done.
"""

import hashlib
from collections import Counter
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TypedDict

from cpg_store.errors import OtherwiseIndexed, UnreadableDocument
from cpg_store.html import read_html
from cpg_store.imprint import read_imprint, without_title
from cpg_store.index import Index
from cpg_store.markdown import read_markdown
from cpg_store.originals import keep_original
from cpg_store.page import Reading
from cpg_store.passage import Document, Passage, passage_id
from cpg_store.pdf import read_pdf
from cpg_store.split import split

MAX_FILE_BYTES = 200 << 20
_TEXT_READERS = {
    ".md": read_markdown,
    ".markdown": read_markdown,
    ".html": read_html,
    ".htm": read_html,
}
_PDF_MAGIC = b"%PDF-"
_PDF_MAGIC_WITHIN = 1024


class _Cited(TypedDict):
    """What a document and each of its passages are cited with."""

    publisher: str | None
    edition: str | None
    year: int | None
    isbn: str | None
    superseded_by: str | None
    review_due: date | None


@dataclass(frozen=True)
class AddedDocument:
    """What adding came to."""

    document: Document
    was_new: bool
    """False when the same file was in the index already, and only what is given was noted."""


def add_document(
    index: Index,
    path: Path,
    title: str | None = None,
    edition: str | None = None,
    year: int | None = None,
    superseded_by: str | None = None,
    review_due: date | None = None,
) -> AddedDocument:
    """Read the document at `path` and add its passages to `index`.

    What is given is believed before what the document says of itself, and noted also where the
    document is in the index already.

    Raises: UnreadableDocument and its kinds, OtherwiseIndexed, IndexBusy, IndexDamaged,
    StorageFailed.
    """
    content = _content(path)
    sha256 = hashlib.sha256(content).hexdigest()
    present = index.document_with(sha256)
    if present:
        if title and title != present.title:
            message = f"the document is in the index already as {present.title!r}: {path}"
            raise OtherwiseIndexed(message, "remove it there, then add it with its new title")
        stated = present.restated(
            edition=edition, year=year, superseded_by=superseded_by, review_due=review_due
        )
        if present.pages:
            keep_original(index, present, content)
        index.restate(stated)
        return AddedDocument(stated, was_new=False)
    reading = read_document(content, path)
    imprint = read_imprint(reading, path.stem)
    document_id = sha256[:16]
    title = title or imprint.title
    cited: _Cited = {
        "publisher": imprint.publisher,
        "edition": edition or imprint.edition,
        "year": year or imprint.year,
        "isbn": imprint.isbn,
        "superseded_by": superseded_by or imprint.superseded_by,
        "review_due": review_due or imprint.review_due,
    }
    passages = [
        Passage(
            passage_id=passage_id(document_id, ordinal),
            document_id=document_id,
            ordinal=ordinal,
            document=title,
            **cited,
            **{**vars(piece), "section_path": without_title(piece.section_path, imprint.title)},
        )
        for ordinal, piece in enumerate(split(reading.pages))
    ]
    if not passages:
        raise UnreadableDocument(
            f"the document holds no text: {path}", "check that it is the right file"
        )
    languages = Counter(passage.language for passage in passages if passage.language)
    document = Document(
        document_id=document_id,
        sha256=sha256,
        file_name=path.name,
        title=title,
        language=languages.most_common(1)[0][0] if languages else None,
        pages=len(reading.pages) if reading.pages[0].number else None,
        passages=len(passages),
        scanned_pages=reading.scanned_pages,
        recognised_pages=sum(page.is_recognised for page in reading.pages),
        hidden_spans=reading.hidden_spans,
        **cited,
    )
    if document.pages:
        # Its pages first: what is listed can be looked at.
        keep_original(index, document, content)
    return AddedDocument(document, index.add(document, passages))


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


def read_document(content: bytes, path: Path) -> Reading:
    """Read the document whose bytes are `content`; `path` tells text formats apart.

    Raises: UnreadableDocument and its kinds.
    """
    suffix = path.suffix.lower()
    if _PDF_MAGIC in content[:_PDF_MAGIC_WITHIN] or suffix == ".pdf":
        return read_pdf(content, str(path))
    if suffix in _TEXT_READERS and b"\0" not in content:
        try:
            return _TEXT_READERS[suffix](content.decode("utf-8-sig"))
        except UnicodeDecodeError as exc:
            message = f"the document is not UTF-8 text: {path}"
            raise UnreadableDocument(message, "save it again as UTF-8") from exc
    message = f"neither a PDF nor Markdown nor HTML: {path}"
    raise UnreadableDocument(message, "add a .pdf, .md or .html file")
