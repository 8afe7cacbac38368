"""Claims about the report: one page, whole, accessible, that reaches for nothing."""

from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tests.training.evaluation.answering import LABELS, TruthTeller, answered, header
from training.evaluation.answered import Evaluation, EvaluationError, read_evaluation
from training.evaluation.comparison import compare
from training.evaluation.examples import HOLDS_IMAGES, example_images
from training.evaluation.figures import evaluate
from training.evaluation.page import report_page
from training.evaluation.run import run_evaluation

HOSTILE = (
    "</style></p><script src=https://example.org/x.js>alert('&')</script><img src=x onerror=y>"
)
VOID = {"meta", "img", "br"}
IMAGES = (
    answered(1, "melanoma", "melanoma", text=HOSTILE, strata={"site": HOSTILE}),
    answered(2, "melanoma", "cataract"),
    *(answered(row, "cataract", "glaucoma", strata={"eye": "left"}) for row in range(25)),
    answered(3, "normal chest", "normal chest"),
)
EVALUATION = Evaluation(header(len(IMAGES), HOSTILE), IMAGES)


class Page(HTMLParser):
    """What a page is made of; complains of an element that ends amiss."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text = text
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]

    @property
    def addresses(self) -> list[str | None]:
        return [
            attributes[name]
            for _, attributes in self.elements
            for name in ("src", "href", "xlink:href", "srcset", "data", "action")
            if name in attributes
        ]


def page_of(evaluation: Evaluation, before: Evaluation | None = None) -> Page:
    figures = evaluate(LABELS, evaluation.images)
    return Page(report_page(evaluation, figures, compare(before, evaluation) if before else None))


def test_hostile_text_stays_text() -> None:
    page = page_of(EVALUATION, replace(EVALUATION, header=header(len(IMAGES), "<b>base</b>")))
    assert not page.all("script") and not page.all("b") and not page.all("img")
    assert any(HOSTILE in words for words in page.words)
    assert "<b>base</b>" in "".join(page.words)


def test_the_page_reaches_for_nothing() -> None:
    page = page_of(EVALUATION)
    assert page.addresses == []
    assert not any("url(" in words or "@import" in words for words in page.words)
    (policy,) = (m["content"] for m in page.all("meta") if "http-equiv" in m)
    assert policy is not None and policy.startswith("default-src 'none'")
    assert "http://" not in page.text


def test_tables_and_drawings_can_be_read_without_seeing_them() -> None:
    page = page_of(EVALUATION, EVALUATION)
    assert len(page.all("caption")) == len(page.all("table")) > 6
    assert all(header.get("scope") in ("row", "col") for header in page.all("th"))
    assert all(d.get("role") == "img" and d.get("aria-label") for d in page.all("svg"))
    assert page.all("html") == [{"lang": "en"}]
    assert len(page.all("h1")) == 1


def test_the_confusion_matrix_counts_images_by_true_and_found_label() -> None:
    page = page_of(EVALUATION)
    words = "|".join(page.words)
    assert "of another domain" in words  # the melanoma that was called a cataract
    assert "25" in page.words[page.words.index("cataract") :]
    assert (
        Counter(d.get("class") for d in page.all("td"))["right"] == 3
    )  # a row for each true label


def test_what_is_left_out_is_said() -> None:
    words = "".join(page_of(EVALUATION).words)
    assert f"Left out for too few images: site {HOSTILE} (1)." in words
    assert "eye: left" in words


def test_before_and_after_stand_side_by_side_with_mcnemar() -> None:
    worse = replace(EVALUATION, images=tuple(replace(image, found="melanoma") for image in IMAGES))
    words = "|".join(page_of(EVALUATION, worse).words)
    assert "McNemar" in words and "skin, before" in words and "skin, after" in words


def test_images_are_shown_with_their_text_and_a_warning(data: Path, tmp_path: Path) -> None:
    run_evaluation(TruthTeller().subject(), data, "test", None, tmp_path, lambda line: None)
    evaluation = read_evaluation(tmp_path)
    examples = example_images(evaluation, data)
    assert len(examples) == len(evaluation.images)
    page = Page(report_page(evaluation, evaluate(LABELS, evaluation.images), None, examples))
    assert f"This page {HOLDS_IMAGES}." in page.words
    assert len(page.addresses) == len(examples)
    assert all(str(address).startswith("data:image/jpeg;base64,/9j/") for address in page.addresses)
    assert all(image.get("alt") for image in page.all("img"))


def test_images_of_other_data_are_not_shown(data: Path) -> None:
    with pytest.raises(EvaluationError, match=r"not as the .* that was asked about"):
        example_images(EVALUATION, data)
