"""The sample guideline: complete, marked on every page, and the same each time it is built."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pymupdf
import pytest

import cpg_store.sample
from cpg_store.sample import sample_guideline
from cpg_store.sample.build import EDITION, MARK, render_pdf

LABELS = (
    "melanocytic nevus",
    "melanoma",
    "benign keratosis",
    "basal cell carcinoma",
    "actinic keratosis",
    "vascular lesion",
    "dermatofibroma",
    "normal fundus",
    "mild diabetic retinopathy",
    "moderate diabetic retinopathy",
    "severe diabetic retinopathy",
    "proliferative diabetic retinopathy",
    "age-related macular degeneration",
    "cataract",
    "glaucoma",
    "hypertensive retinopathy",
    "pathological myopia",
    "normal chest",
    "bacterial pneumonia",
    "viral pneumonia",
)
BOX = re.compile(
    r"^Recommendation (\d+)\n"
    r"(?:(?!Recommendation \d+$).+\n)+?"
    r"\(Grade [ABC]\) \[Level (?:I|II-[123]|III)\]$",
    re.MULTILINE,
)


@dataclass(frozen=True)
class Printed:
    """The PDF as a reader sees it."""

    pages: tuple[str, ...]
    outline: tuple[tuple[int, str, int], ...]
    metadata: dict[str, str]


@pytest.fixture(scope="module")
def printed() -> Printed:
    open_document: Any = pymupdf.open
    with open_document(sample_guideline()) as document:
        return Printed(
            tuple(page.get_text() for page in document),
            tuple((level, heading, number) for level, heading, number in document.get_toc()),
            document.metadata,
        )


@pytest.fixture(scope="module")
def markdown() -> str:
    here = Path(cpg_store.sample.__file__).parent
    return (here / "content.md").read_text(encoding="utf-8")


def sections_of(markdown: str) -> dict[str, str]:
    """Each finding's section by its label, without number, tables and source line."""
    parts = re.split(r"^#{2,3} (.+)\n", markdown, flags=re.MULTILINE)
    return {
        heading.split(" ", 1)[1].lower(): text.partition("\nSource:")[0]
        for heading, text in zip(parts[1::2], parts[2::2], strict=True)
        if re.match(r"\d+\.\d+ ", heading)
    }


def test_every_label_has_its_section_and_no_other_section_is_there(markdown: str) -> None:
    assert tuple(sections_of(markdown)) == LABELS


@pytest.mark.parametrize("label", LABELS)
def test_a_section_names_its_label_and_is_short(markdown: str, label: str) -> None:
    section = sections_of(markdown)[label]
    assert label in section
    assert 60 <= len(section.replace(">", "").split()) <= 150
    for lead in ("**Appearance.**", "**Meaning.**", "**Next steps.**", "**Recommendation "):
        assert lead in section


def test_every_heading_stands_on_the_page_that_outline_and_contents_give(printed: Printed) -> None:
    contents = printed.pages[1]
    for _, heading, number in printed.outline[1:]:
        assert heading in printed.pages[number - 1].splitlines()
        assert f"\n{heading}\n{number}\n" in contents


def test_every_page_carries_the_sample_mark_and_the_edition(printed: Printed) -> None:
    assert all(MARK in page and EDITION in page for page in printed.pages)


def test_every_printed_page_number_is_the_physical_page(printed: Printed) -> None:
    printed_numbers = [int(page.rstrip().rpartition("\n")[2]) for page in printed.pages]
    assert printed_numbers == list(range(1, len(printed.pages) + 1))
    assert 10 <= len(printed.pages) <= 16


def test_every_recommendation_has_a_grade_and_a_level_on_its_own_page(printed: Printed) -> None:
    titles = [
        int(title)
        for page in printed.pages
        for title in re.findall(r"^Recommendation (\d+)$", page, re.MULTILINE)
    ]
    boxes = [int(match[1]) for page in printed.pages for match in BOX.finditer(page)]
    assert titles == boxes == list(range(1, len(titles) + 1))


def test_grades_are_declared_to_be_the_samples_own(printed: Printed) -> None:
    assert "grade as set by this sample" in " ".join(printed.pages[0].split())


def test_every_reference_is_cited_and_every_citation_has_its_reference(markdown: str) -> None:
    body, _, references = markdown.partition("\n## References\n")
    cited = {int(number) for number in re.findall(r"\[(\d+)\]", body)}
    listed = [int(number) for number in re.findall(r"^\[(\d+)\]", references, re.MULTILINE)]
    assert listed == list(range(1, len(listed) + 1))
    assert cited == set(listed)


def test_a_table_is_text_that_can_be_selected(printed: Printed) -> None:
    page = next(page for page in printed.pages if "Table 5. Diabetic retinopathy" in page)
    assert "Mild\nMicroaneurysms only\n6 to 12 months\n1 to 2 years\nNo\n" in page


def test_the_metadata_names_the_document_and_its_edition(printed: Printed) -> None:
    assert printed.metadata["title"].startswith("Sample Guideline for Demonstration")
    assert printed.metadata["subject"] == EDITION
    assert printed.metadata["author"] == "MedGemma clinic appliance project"
    assert printed.metadata["keywords"] == "sample, demonstration"


def test_building_again_gives_the_committed_bytes(markdown: str) -> None:
    assert render_pdf(markdown) == sample_guideline().read_bytes()


def test_a_section_longer_than_a_page_is_refused(markdown: str) -> None:
    with pytest.raises(ValueError, match="longer than a page: 9 Long"):
        render_pdf(f"{markdown}\n## 9 Long\n\n" + "word " * 2000)
