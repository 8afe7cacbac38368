"""The guideline index: cpg_store behind our port, its errors in our words."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from appliance.core.ports import Passage
from appliance.errors import GuidelineError, GuidelineIndexError
from cpg_store import errors
from cpg_store.embed import Embedder
from cpg_store.index import Index
from cpg_store.ingest import add_document
from cpg_store.passage import Document
from cpg_store.passage import Passage as StoredPassage
from cpg_store.search import search

NO_INDEX_HINT = (
    "add guidelines with `appliance guidelines add FILE...` (`caption --no-lookup` needs none)"
)


@dataclass(frozen=True)
class IndexedDocument:
    """One document of the index, as commands report it."""

    document_id: str
    title: str
    edition: str | None
    pages: int | None
    passages: int
    is_new: bool
    """False: it was in the index before."""
    notes: tuple[str, ...]
    """What was left out of the index, in words."""


class GuidelineIndex:
    """Owns an open index until closed."""

    def __init__(self, folder: Path, embedder: str, *, create: bool) -> None:
        """`embedder`: a model's folder, or empty. Raises: GuidelineIndexError."""
        with _our_errors():
            model = Embedder.from_folder(Path(embedder)) if embedder else Embedder.default()
            self._index = Index.open(folder, model, create=create)

    def find(self, query: str, k: int) -> Sequence[Passage]:
        with _our_errors():
            found = search(self._index, query, k)
        return [
            Passage(
                passage_id=ranked.passage.passage_id,
                text=ranked.passage.text,
                document=ranked.passage.document,
                edition=_edition(ranked.passage),
                page=ranked.passage.page,
                section=ranked.passage.section or None,
                grade=ranked.passage.grade,
                evidence=ranked.passage.evidence,
                score=round(ranked.score, 6),
            )
            for ranked in found
        ]

    def add(self, path: Path, *, title: str | None, edition: str | None) -> IndexedDocument:
        """Raises: GuidelineError; then the index is as it was."""
        with _our_errors():
            added = add_document(self._index, path, title=title, edition=edition)
        return _indexed(added.document, added.was_new)

    def documents(self) -> list[IndexedDocument]:
        with _our_errors():
            return [_indexed(document, is_new=False) for document in self._index.documents()]

    def remove(self, document_id: str) -> None:
        """Raises: GuidelineError when there is no such document."""
        with _our_errors():
            removed = self._index.remove(document_id)
        if not removed:
            raise GuidelineError(
                f"no document {document_id!r} in the index", "see `appliance guidelines list`"
            )

    def check(self) -> list[str]:
        """Problems in words; none when the index is whole."""
        with _our_errors():
            return self._index.check()

    def close(self) -> None:
        self._index.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.close()


CODES: dict[type[errors.CpgStoreError], str] = {
    errors.PasswordRequired: "guideline-password",
    errors.ScannedDocument: "guideline-scanned",
    errors.UnreadableDocument: "guideline-unreadable",
    errors.IndexBusy: "guideline-busy",
}


@contextmanager
def _our_errors() -> Iterator[None]:
    try:
        yield
    except errors.IndexMissing as exc:
        raise GuidelineIndexError(exc.message, NO_INDEX_HINT) from exc
    except (errors.IndexDamaged, errors.EmbedderMissing) as exc:
        raise GuidelineIndexError(exc.message, exc.hint) from exc
    except errors.CpgStoreError as exc:
        code = next((code for kind, code in CODES.items() if isinstance(exc, kind)), None)
        raise GuidelineError(exc.message, exc.hint, code=code) from exc


def _edition(source: Document | StoredPassage) -> str | None:
    """Edition and year in one, as a citation gives them: "2nd edition, 2017"; or just "2024"."""
    edition, year = source.edition, source.year
    if edition and year and str(year) not in edition:
        return f"{edition}, {year}"
    return edition or (str(year) if year else None)


def _indexed(document: Document, is_new: bool) -> IndexedDocument:
    notes = []
    if _edition(document) is None:
        notes.append("it does not say its edition: remove it and add it again with --edition")
    if document.scanned_pages:
        notes.append(f"scanned, not indexed: {document.scanned_pages} pages")
    if document.hidden_spans:
        notes.append(f"hidden text dropped: {document.hidden_spans} pieces")
    return IndexedDocument(
        document.document_id,
        document.title,
        _edition(document),
        document.pages,
        document.passages,
        is_new,
        tuple(notes),
    )
