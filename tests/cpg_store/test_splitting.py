"""Claims about cutting pages into passages, and about grades and levels of evidence."""

import pytest

from cpg_store.grade import grading_of
from cpg_store.page import Block, Page
from cpg_store.split import MAX_WORDS, MIN_WORDS, split

SENTENCE = "Give the first dose at once and record the time it was given. "


def paragraph(text: str) -> Block:
    return Block("paragraph", text)


def page(number: int, *blocks: Block) -> Page:
    return Page(number, None, blocks)


def test_no_passage_crosses_a_page_or_a_section() -> None:
    pages = [
        page(1, Block("heading", "1 Care", 1), paragraph("On page one.")),
        page(2, paragraph("On page two."), Block("heading", "2 Drugs", 1), paragraph("Drugs.")),
    ]
    found = [(piece.text, piece.page, piece.section_path) for piece in split(pages)]
    assert found == [
        ("On page one.", 1, ("1 Care",)),
        ("On page two.", 2, ("1 Care",)),
        ("Drugs.", 2, ("2 Drugs",)),
    ]


def test_a_long_paragraph_is_cut_between_sentences_and_nothing_is_lost() -> None:
    text = (SENTENCE * 40).strip()
    found = [piece.text for piece in split([page(1, paragraph(text))])]
    assert len(found) > 1
    assert all(each.endswith(".") for each in found)
    assert all(len(each.split()) <= MAX_WORDS + MIN_WORDS for each in found)
    assert " ".join(found) == text


def test_a_recommendation_box_is_its_own_passage() -> None:
    blocks = [
        Block("heading", "4.1 Lifestyle", 2),
        paragraph("Some prose before."),
        Block("heading", "Recommendation 2", 2),
        paragraph("Advise every patient to stop smoking. (Grade B)"),
    ]
    prose, box = split([page(7, *blocks)])
    assert (prose.kind, prose.grade) == ("text", None)
    assert (box.kind, box.grade) == ("recommendation", "B")
    assert box.section_path == ("4.1 Lifestyle", "Recommendation 2")


def test_a_grade_on_its_own_line_stays_with_its_recommendation() -> None:
    blocks = [
        paragraph("Some prose before."),
        paragraph("The panel recommends surveillance."),
        paragraph("(Strong recommendation, low quality of evidence)"),
    ]
    _, graded = split([page(1, *blocks)])
    assert graded.text.startswith("The panel recommends surveillance.\n(Strong")
    assert (graded.grade, graded.evidence) == ("strong", "low certainty")


def test_a_contents_list_is_left_out() -> None:
    assert not list(split([page(1, paragraph("1 Introduction ............ 12"))]))


def test_what_follows_the_grade_is_outside_the_box() -> None:
    blocks = [
        Block("heading", "1.2 Melanoma", 2),
        Block("heading", "Recommendation 3", 3),
        paragraph("Refer urgently. (Grade B) [Level II-2]"),
        paragraph("Source: after two reviews."),
    ]
    box, source = split([page(5, *blocks)])
    assert (box.kind, box.grade, box.evidence) == ("recommendation", "B", "II-2")
    assert (source.kind, source.section_path) == ("text", ("1.2 Melanoma",))


def test_a_page_of_contents_is_left_out() -> None:
    listed = page(2, Block("heading", "Contents", 1), paragraph("Eye"), paragraph("Skin 4"))
    assert list(split([listed]))
    assert not list(split([page(2, *listed.blocks, paragraph("Chest 14"), paragraph("xi"))]))


def test_a_sentence_that_a_page_ends_in_is_whole_and_cites_both_pages() -> None:
    pages = [page(1, paragraph("Give the first dose and")), page(2, paragraph("record the time."))]
    (piece,) = split(pages)
    assert piece.text == "Give the first dose and record the time."
    assert (piece.page, piece.last_page) == (1, 2)
    assert (piece.start, piece.end) == (0, len("record the time."))


def test_a_piece_is_where_its_span_says() -> None:
    whole = page(1, Block("heading", "1 Care", 1), paragraph((SENTENCE * 30).strip()))
    for piece in split([whole]):
        assert whole.text[piece.start : piece.end] == piece.text


def test_a_long_table_repeats_its_caption_and_head_over_every_piece() -> None:
    rows = "\n".join(f"| Drug {n} | {'one dose in the morning ' * 4} |" for n in range(40))
    blocks = [paragraph("Table 3. Doses"), Block("table", f"| Drug | Dose |\n{rows}", head_rows=1)]
    found = list(split([page(1, *blocks)]))
    assert len(found) > 2
    assert all(each.text.startswith("Table 3. Doses\n| Drug | Dose |\n| Drug ") for each in found)
    assert [each.continues for each in found] == [False] + [True] * (len(found) - 1)
    told = [line for each in found for line in each.text.split("\n")[2:]]
    assert told == rows.split("\n")


def test_whose_grades_they_are_and_which_language_it_is() -> None:
    blocks = [
        paragraph("Pesakit perlu dirujuk untuk pemeriksaan mata yang lengkap. (Gred A)"),
        paragraph("The panel suggests it for those at risk. (Weak recommendation, low certainty)"),
    ]
    malay, english = split([page(1, *blocks)])
    assert (malay.grading, malay.grade, malay.language) == ("malaysian", "A", "ms")
    assert (english.grading, english.evidence, english.language) == ("grade", "low certainty", "en")


@pytest.mark.parametrize(
    ("text", "grade", "evidence"),
    [
        ("Screen yearly. (Grade A)", "A", None),
        ("Screen yearly. Grade C", "C", None),
        ("The risk doubled. 12, level II-1", None, "II-1"),
        ("The risk doubled [Level I].", None, "I"),
        ("The risk doubled. 3, level II\u20113", None, "II-3"),
        ("[Conditional recommendation, low-certainty evidence]", "conditional", "low certainty"),
        ("X is advised (strong recommendation). Give high-quality care.", "strong", None),
        ("Use low quality water never. (Strong recommendation)", "strong", None),
        ("(Strong recommendation, low quality of evidence)", "strong", "low certainty"),
        ("The risk doubled.\u00b9\u00b2, level II-1", None, "II-1"),
        ("Ulang pemeriksaan setiap tahun. (Gred B)", "B", None),
        ("Los Angeles grade B oesophagitis; a level crossing; level of care.", None, None),
        ("One found more, 1, level III but others less. 2, level I", None, None),
        ("Grade A: at least one meta-analysis. Grade B: a trial.", None, None),
    ],
)
def test_grades_and_levels_are_read_only_where_they_are_plain(
    text: str, grade: str | None, evidence: str | None
) -> None:
    stated = grading_of(text)
    assert (stated.grade, stated.evidence) == (grade, evidence)
