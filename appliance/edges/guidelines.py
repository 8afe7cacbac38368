"""The guideline index: cpg_store behind our port, its errors in our words."""

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from types import TracebackType
from typing import Self

from appliance.core.labels import Domain
from appliance.core.ports import Passage
from appliance.core.query import GuidelineQuery, Within
from appliance.errors import GuidelineError, GuidelineIndexError
from cpg_store import errors
from cpg_store.embed import Embedder
from cpg_store.index import Index, locked
from cpg_store.passage import Document
from cpg_store.passage import Passage as StoredPassage
from cpg_store.scope import Scope, Topic
from cpg_store.search import holding, search
from cpg_store.server import IndexServer

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
    """False: it was in the index before, and only what was given of it was noted."""
    notes: tuple[str, ...]
    """What was left out of the index, in words."""


@dataclass(frozen=True)
class IndexContent:
    """Which documents answer, in a form that fits the log."""

    documents: tuple[str, ...]
    """Their ids, in order."""
    sha256: str
    """Of what the documents say of themselves and of all their passages."""


_TOPICS: dict[Domain, Topic] = {"skin": "skin", "fundus": "eye", "chest": "chest"}


class GuidelineIndex:
    """Owns an open index until closed."""

    def __init__(
        self,
        folder: Path,
        embedder: str,
        *,
        server: str = "",
        create: bool = False,
        to_rebuild: bool = False,
        before_writing: Callable[[], None] = lambda: None,
    ) -> None:
        """`embedder`: a model's folder, or empty. `server`: its address, or empty. What
        `before_writing` raises keeps a document from being added or removed.

        Raises: GuidelineIndexError.
        """
        with _our_errors():
            model = Embedder.from_folder(Path(embedder)) if embedder else Embedder.default()
            shared = IndexServer.at(server) if server else None
            self._index = Index.open(
                folder,
                model,
                create=create,
                server=shared,
                to_rebuild=to_rebuild,
                before_writing=before_writing,
            )

    def find(
        self, query: GuidelineQuery, k: int, within: Within | None = None
    ) -> Sequence[Passage]:
        """Best first, at most `k`, none when nothing is relevant. Raises: GuidelineError."""
        within = within or Within()
        scope = Scope(
            document_id=within.document_id,
            topic=_TOPICS[within.domain] if within.domain else None,
            kind=within.kind,
            grade=within.grade,
            language=within.language,
        )
        about = _TOPICS[query.domain] if query.domain else None
        with _our_errors():
            found = search(self._index, query.text, k, scope, query.also, about)
        if not found and query.otherwise:
            return self.find(query.otherwise, k, within)
        return [_ours(ranked.passage, ranked.score) for ranked in found]

    def holding(self, sentence: str) -> Sequence[Passage]:
        """Every passage that holds it word for word, in reading order, with score 1. Raises:
        GuidelineError."""
        with _our_errors():
            return [_ours(passage, 1.0) for passage in holding(self._index, sentence)]

    def around(self, passage_id: str) -> Sequence[Passage]:
        """The passage and those right before and after it in its document, in reading order, with
        score 0; none when the index no longer has it. Raises: GuidelineError."""
        catalogue = self._index.catalogue
        with _our_errors():
            found = catalogue.passages([passage_id]).get(passage_id)
            if found is None:
                return []
            near = catalogue.passages_of(found.document_id, found.ordinal - 1, found.ordinal + 1)
        return [_ours(passage, 0.0) for passage in near]

    def add(
        self,
        path: Path,
        *,
        title: str | None,
        edition: str | None,
        superseded_by: str | None = None,
        review_due: date | None = None,
    ) -> IndexedDocument:
        """Raises: GuidelineError; then the index is as it was."""
        # With every reader of documents: a lookup, which is most of what is started, reads none.
        from cpg_store.ingest import add_document

        with _our_errors():
            added = add_document(
                self._index,
                path,
                title=title,
                edition=edition,
                superseded_by=superseded_by,
                review_due=review_due,
            )
        return _indexed(added.document, added.was_new)

    def documents(self) -> list[IndexedDocument]:
        with _our_errors():
            return [_indexed(document, is_new=False) for document in self._index.documents()]

    def content(self) -> IndexContent:
        with _our_errors():
            ids = sorted(document.document_id for document in self._index.documents())
            return IndexContent(tuple(ids), self._index.catalogue.digest())

    def carry(self, source: "GuidelineIndex", document_ids: Collection[str]) -> None:
        """Add these documents of another index as they stand there; of those that are here, note
        what is stated there. Raises: GuidelineError."""
        from cpg_store.carrying import carry_documents

        with _our_errors():
            carry_documents(source._index, self._index, document_ids)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Nobody adds or removes a document meanwhile. Raises: GuidelineError if somebody does."""
        with _our_errors(), locked(self._index.directory):
            yield

    def fit(self) -> None:
        """Make the vectors anew where they are not those of the embedder that is set, or cannot be
        read. Raises: GuidelineError."""
        with _our_errors():
            try:
                is_fit = not self._index.wants_rebuild
            except errors.VectorsDamaged:
                is_fit = False
            if not is_fit:
                self._index.rebuild()

    def remove(self, document_id: str) -> None:
        """Raises: GuidelineError when there is no such document."""
        from cpg_store.originals import forget_original

        with _our_errors():
            if not self._index.remove(document_id):
                raise GuidelineError(
                    f"no document {document_id!r} in the index", "see `appliance guidelines list`"
                )
            forget_original(self._index, document_id)

    def page_picture(self, document_id: str, page: int) -> bytes:
        """A page (from 1) of an indexed PDF, as a PNG. Raises: GuidelineError."""
        from cpg_store.originals import document_page

        with _our_errors():
            return document_page(self._index, document_id, page)

    def page_pixels(self, document_id: str, page: int, size: int) -> tuple[bytes, int, int, int]:
        """The same as RGB pixels, squashed to `size` x `size`, row by row; `size`; and the page's
        own width and height. Raises: GuidelineError."""
        import io

        from PIL import Image  # with the first page that is looked at

        with Image.open(io.BytesIO(self.page_picture(document_id, page))) as drawn:
            square = drawn.convert("RGB").resize((size, size), Image.Resampling.BOX)
            return square.tobytes(), size, drawn.width, drawn.height

    def check(self, *, quick: bool = False) -> list[str]:
        """Problems in words; none when the index is whole. With `quick` the documents' pages are
        not looked at."""
        from cpg_store.originals import altered_originals

        with _our_errors():
            return self._index.check() or ([] if quick else altered_originals(self._index))

    def rebuild(self) -> None:
        """Make the vectors anew with the embedder that is set; until then the old ones serve.

        Raises: GuidelineError.
        """
        with _our_errors():
            self._index.rebuild()

    def close(self) -> None:
        self._index.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.close()


def copy_guidelines(folder: Path, target: Path) -> None:
    """Copy the index in `folder` to the new folder `target`, whole, while others read it.

    Raises: GuidelineError.
    """
    from cpg_store.copying import copy_index

    with _our_errors():
        copy_index(folder, target)


CODES: dict[type[errors.CpgStoreError], str] = {
    errors.PasswordRequired: "guideline-password",
    errors.ScannedDocument: "guideline-scanned",
    errors.UnreadableDocument: "guideline-unreadable",
    errors.IndexBusy: "guideline-busy",
    errors.StorageFailed: "guideline-storage",
}


@contextmanager
def _our_errors() -> Iterator[None]:
    try:
        yield
    except errors.IndexMissing as exc:
        raise GuidelineIndexError(exc.message, NO_INDEX_HINT) from exc
    except errors.VectorsDamaged as exc:
        raise GuidelineIndexError(exc.message, "run `appliance guidelines rebuild`") from exc
    except (errors.IndexDamaged, errors.EmbedderMissing, errors.ServerRefused) as exc:
        raise GuidelineIndexError(exc.message, exc.hint) from exc
    except errors.CpgStoreError as exc:
        code = next((code for kind, code in CODES.items() if isinstance(exc, kind)), None)
        raise GuidelineError(exc.message, exc.hint, code=code) from exc


def _ours(passage: StoredPassage, score: float) -> Passage:
    return Passage(
        passage_id=passage.passage_id,
        text=passage.text,
        document=passage.document,
        edition=_edition(passage),
        page=passage.page,
        section=passage.section or None,
        grade=passage.grade,
        evidence=passage.evidence,
        score=round(score, 6),
        publisher=passage.publisher,
        isbn=passage.isbn,
        page_label=passage.page_label,
        last_page=passage.last_page,
        kind=passage.kind,
        grading=passage.grading,
        language=passage.language,
        caution="; ".join(_cautions(passage, date.today())) or None,
    )


def _edition(source: Document | StoredPassage) -> str | None:
    """Edition and year in one, as a citation gives them: "2nd edition, 2017"; or just "2024"."""
    edition, year = source.edition, source.year
    if edition and year and str(year) not in edition:
        return f"{edition}, {year}"
    return edition or (str(year) if year else None)


def _cautions(source: Document | StoredPassage, today: date) -> Iterator[str]:
    if source.superseded_by:
        yield f"superseded by {source.superseded_by}"
    if source.review_due and source.review_due < today:
        yield f"its review was due on {source.review_due}"
    if isinstance(source, StoredPassage) and source.is_recognised:
        yield "recognised in a scan: compare it with the page"


def _indexed(document: Document, is_new: bool) -> IndexedDocument:
    notes = []
    if _edition(document) is None:
        notes.append("it does not say its edition: remove it and add it again with --edition")
    notes += _cautions(document, date.today())
    if document.recognised_pages:
        notes.append(f"scanned, text recognised: {document.recognised_pages} pages")
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
