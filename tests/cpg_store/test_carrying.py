"""A document that is carried into another index is there as it was."""

from collections.abc import Callable
from pathlib import Path

from cpg_store.carrying import carry_documents
from cpg_store.embed import Embedder
from cpg_store.index import Index
from cpg_store.ingest import add_document
from cpg_store.originals import document_page
from cpg_store.search import search

MakePdf = Callable[..., Path]
PAGE = [
    ("Handover", 16, 0, (72, 100)),
    ("The registrar signs the ward book at seven.", 11, 0, (72, 140)),
]


def test_passages_vectors_and_pages_go_along(
    index: Index, make_pdf: MakePdf, tmp_path: Path, embedder: Embedder
) -> None:
    made = add_document(index, make_pdf([PAGE]), title="Ward rules", superseded_by="2nd").document
    with Index.open(tmp_path / "other", embedder, create=True) as other:
        carry_documents(index, other, {made.document_id})
        assert other.documents() == [made]
        assert other.check() == []
        assert other.catalogue.digest() == index.catalogue.digest()
        assert document_page(other, made.document_id, 1)
        assert search(other, "ward book", 1)[0].passage.text.startswith("The registrar")
        carry_documents(index, other, {made.document_id})
        assert other.documents() == [made]


def test_of_what_is_there_already_only_the_statements_are_carried(
    index: Index, make_pdf: MakePdf, tmp_path: Path, embedder: Embedder
) -> None:
    path = make_pdf([PAGE])
    add_document(index, path, title="Ours", superseded_by="3rd edition", year=2019)
    with Index.open(tmp_path / "other", embedder, create=True) as other:
        made = add_document(other, path, title="Theirs", edition="2nd").document
        carry_documents(index, other, {made.document_id})
        (found,) = other.documents()
        assert (found.title, found.edition) == ("Theirs", "2nd")
        assert (found.superseded_by, found.year) == ("3rd edition", 2019)
        assert search(other, "ward book", 1)[0].passage.superseded_by == "3rd edition"
        assert other.check() == []


def test_only_what_is_asked_for_is_carried(
    index: Index, make_pdf: MakePdf, tmp_path: Path, embedder: Embedder
) -> None:
    add_document(index, make_pdf([PAGE]))
    with Index.open(tmp_path / "other", embedder, create=True) as other:
        carry_documents(index, other, set())
        assert other.documents() == []
        assert other.catalogue.digest() != index.catalogue.digest()
