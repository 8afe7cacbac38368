"""Real embedder, real index, real PDFs; nothing here stands in for anything."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cpg_store.embed import Embedder
from cpg_store.index import Index

MakePdf = Callable[..., Path]
DrawPdf = Callable[[Callable[[Any], None]], Path]


@pytest.fixture(scope="session")
def embedder() -> Embedder:
    return Embedder.default()


@pytest.fixture
def index(tmp_path: Path, embedder: Embedder) -> Iterator[Index]:
    with Index.open(tmp_path / "index", embedder, create=True) as opened:
        yield opened


@pytest.fixture
def make_pdf(tmp_path: Path) -> MakePdf:
    """Write a PDF: one list a page, of (text, size in points, colour, place from the top left)."""

    def make(pages: list[list[tuple[Any, ...]]], name: str = "made.pdf", **save: Any) -> Path:
        # PyMuPDF is loaded by the tests that make a PDF only.
        import pymupdf

        # Untyped in PyMuPDF.
        new_document: Any = pymupdf.open
        document = new_document()
        for texts in pages:
            page = document.new_page()
            for text, size, grey, place in texts:
                page.insert_text(place, text, fontsize=size, color=(grey, grey, grey))
        document.save(tmp_path / name, **save)
        return tmp_path / name

    return make


@pytest.fixture
def draw_pdf(tmp_path: Path) -> DrawPdf:
    """Write a PDF of one page, drawn by the function given."""

    def draw(on_page: Callable[[Any], None]) -> Path:
        import pymupdf

        new_document: Any = pymupdf.open
        document = new_document()
        on_page(document.new_page())
        document.save(tmp_path / "drawn.pdf")
        return tmp_path / "drawn.pdf"

    return draw


@pytest.fixture(scope="session")
def shared() -> Path:
    """Real documents and broken files kept beside the project, never in it."""
    folder = Path(__file__).resolve().parents[2].parent / "shared"
    if not folder.is_dir():
        pytest.skip("no folder of shared documents beside the project")
    return folder
