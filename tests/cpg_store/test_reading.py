"""Claims about reading PDF and Markdown."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cpg_store.errors import (
    CpgStoreError,
    PasswordRequired,
    ScannedDocument,
    UnreadableDocument,
)
from cpg_store.markdown import read_markdown
from cpg_store.page import Page, Reading
from cpg_store.pdf import read_pdf
from cpg_store.split import Piece, split

MakePdf = Callable[..., Path]
DrawPdf = Callable[[Callable[[Any], None]], Path]

BODY = "Clean the wound and review it after two days. "


def read(path: Path) -> Reading:
    return read_pdf(path.read_bytes(), path.name)


def pieces(path: Path) -> list[Piece]:
    return list(split(read(path).pages))


def text_of(page: Page) -> str:
    return "\n".join(block.text for block in page.blocks)


def test_running_heads_and_page_numbers_go_and_the_number_becomes_the_label(
    make_pdf: MakePdf,
) -> None:
    pages = [
        [
            ("Management of Wounds", 9, 0, (72, 30)),
            (f"{BODY} Point {number} is its own.", 11, 0, (72, 200)),
            (str(number + 10), 9, 0, (300, 820)),
        ]
        for number in range(1, 5)
    ]
    reading = read(make_pdf(pages))
    assert [page.label for page in reading.pages] == ["11", "12", "13", "14"]
    assert [page.number for page in reading.pages] == [1, 2, 3, 4]
    assert all("Management of Wounds" not in text_of(page) for page in reading.pages)


def test_headings_by_size_and_number_make_the_section_path(make_pdf: MakePdf) -> None:
    page = [
        ("3 Treatment", 18, 0, (72, 100)),
        ("3.1 Dressing", 14, 0, (72, 140)),
        (BODY, 11, 0, (72, 200)),
    ]
    assert [piece.section for piece in pieces(make_pdf([page]))] == ["3 Treatment > 3.1 Dressing"]


def test_a_word_broken_at_a_line_end_is_joined_and_a_compound_keeps_its_hyphen(
    make_pdf: MakePdf,
) -> None:
    page = [
        ("Arrange a follow up visit for the recommen-", 11, 0, (72, 100)),
        ("dation that was made, then a second follow-", 11, 0, (72, 114)),
        ("up for those who need one.", 11, 0, (72, 128)),
    ]
    text = pieces(make_pdf([page]))[0].text
    assert "the recommendation that" in text
    assert "second follow-up for" in text


def test_text_that_nobody_can_see_is_dropped_and_counted(make_pdf: MakePdf) -> None:
    page = [
        (BODY, 11, 0, (72, 100)),
        ("white canary", 11, 1, (72, 200)),
        ("tiny canary", 1, 0, (72, 300)),
        ("far canary", 11, 0, (900, 300)),
    ]
    reading = read(make_pdf([page]))
    assert reading.hidden_spans == 3
    assert "canary" not in text_of(reading.pages[0])


def test_white_text_on_a_dark_box_is_seen(draw_pdf: DrawPdf) -> None:
    def box(page: Any) -> None:
        page.draw_rect((60, 80, 400, 120), color=(0, 0, 0.4), fill=(0, 0, 0.4))
        page.insert_text((72, 100), "Refer at once", fontsize=12, color=(1, 1, 1))

    assert "Refer at once" in text_of(read(draw_pdf(box)).pages[0])


def test_a_ruled_table_is_one_passage_with_its_rows(draw_pdf: DrawPdf) -> None:
    def table(page: Any) -> None:
        rows = [("Drug", "Dose"), ("Amoxicillin", "500 mg"), ("Doxycycline", "100 mg")]
        for down, row in enumerate(rows):
            for across, cell in enumerate(row):
                left, top = 72 + 150 * across, 100 + 30 * down
                page.draw_rect((left, top, left + 150, top + 30))
                page.insert_text((left + 5, top + 20), cell, fontsize=11)

    (found,) = pieces(draw_pdf(table))
    assert found.kind == "table"
    assert found.text.split("\n")[1] == "| Amoxicillin | 500 mg |"


def test_two_columns_are_read_one_after_the_other_however_they_were_written(
    make_pdf: MakePdf,
) -> None:
    page = [
        (f"{side} line {row} of its own column.", 11, 0, (left, 100 + 14 * row))
        for side, left in (("Right", 320), ("Left", 60))
        for row in range(4)
    ]
    text = pieces(make_pdf([page]))[0].text
    assert text.rindex("Left") < text.index("Right")


def test_a_document_with_a_password_asks_for_it(make_pdf: MakePdf) -> None:
    path = make_pdf([[(BODY, 11, 0, (72, 100))]], encryption=5, user_pw="u", owner_pw="o")
    with pytest.raises(PasswordRequired, match=r"made\.pdf"):
        read(path)


def test_a_page_with_only_a_drawing_is_called_scanned(draw_pdf: DrawPdf) -> None:
    with pytest.raises(ScannedDocument, match="scanned, not indexed: 1 page"):
        read(draw_pdf(lambda page: page.draw_rect((50, 50, 300, 300), fill=(0.5, 0.5, 0.5))))


def test_a_scanned_page_among_others_is_counted(make_pdf: MakePdf, draw_pdf: DrawPdf) -> None:
    import pymupdf

    open_document: Any = pymupdf.open
    document = open_document(make_pdf([[(BODY, 11, 0, (72, 100))]]))
    document.insert_pdf(
        open_document(draw_pdf(lambda page: page.draw_rect((50, 50, 300, 300), fill=(0.5,) * 3)))
    )
    reading = read_pdf(document.tobytes(), "mixed.pdf")
    assert (len(reading.pages), reading.scanned_pages) == (2, 1)


@pytest.mark.parametrize("content", [b"", b"%PDF-", b"not a pdf at all", b"%PDF-1.7\n%%EOF"])
def test_what_is_not_a_pdf_is_refused(content: bytes) -> None:
    with pytest.raises(UnreadableDocument):
        read_pdf(content, "broken.pdf")


@pytest.mark.data
@pytest.mark.slow
def test_made_broken_pdfs_give_a_result_or_a_typed_error(shared: Path) -> None:
    files = sorted((shared / "corpora" / "gen" / "pdf").glob("*.pdf"))
    assert files
    assert_each_is_read_or_refused(files)


@pytest.mark.data
def test_broken_pdfs_of_others_give_a_result_or_a_typed_error(shared: Path) -> None:
    files = sorted((shared / "corpora" / "qpdf").glob("*.pdf"))[::50]
    assert files
    assert_each_is_read_or_refused(files)


def assert_each_is_read_or_refused(files: list[Path]) -> None:
    for path in files:
        try:
            assert any(page.blocks for page in read(path).pages)
        except CpgStoreError as error:
            assert path.name in error.message
            assert error.hint


def test_markdown_headings_lists_and_tables_are_kept_and_comments_are_not() -> None:
    table = "| a | b |\n|---|---|\n| 1 | 2 |"
    text = f"# Eye\n<!-- hidden\ncanary -->\n## 1. Cataract\nRefer.\n\n{table}\n"
    found = list(split(read_markdown(text).pages))
    assert [(piece.section, piece.kind) for piece in found] == [
        ("Eye > 1. Cataract", "text"),
        ("Eye > 1. Cataract", "table"),
    ]
    assert found[1].text == table
    assert found[0].page is None


def test_html_inside_markdown_is_read_as_what_it_shows() -> None:
    front = "---\ntitle: Scabies\n---\n"
    body = "<div><h2 class='x'>Advice</h2><ul><li>Wash &lt; 60</li></ul></div>"
    reading = read_markdown(front + body)
    (piece,) = split(reading.pages)
    assert (reading.title, piece.section, piece.text) == ("Scabies", "Advice", "- Wash < 60")


def test_control_and_bidirectional_characters_are_dropped() -> None:
    (piece,) = split(read_markdown("# A\nsafe\x1b[31m \u202etext\u202c here\n").pages)
    assert piece.text == "safe[31m text here"
