"""What the judge is asked in training, and what it is never asked."""

from pathlib import Path

import pytest

from appliance.core.treatment import RuleBook
from tests.treatment_scenarios import FILE, read_scenarios
from training.datasets import DatasetError
from training.labels import label_set
from training.treatment.drawing import Drawn, draw_questions, pairs_of, right_answers
from training.treatment.material import texts_of

Images = dict[str, list[int]]
COUNT = 400


def drawn(book: RuleBook, images: Images, left_out: set[str], seed: int = 0) -> list[Drawn]:
    share = {"skin": 0.4, "fundus": 0.4, "chest": 0.2}
    return draw_questions(COUNT, book, label_set(), images, share, left_out, seed)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def questions(book: RuleBook, images: Images) -> list[Drawn]:
    return drawn(book, images, texts_of([str(FILE)]))


def test_no_text_of_a_scenario_is_ever_drawn(book: RuleBook, images: Images) -> None:
    held = {text.casefold() for s in read_scenarios() for text in (s.finding, s.treatment)}

    def texts(questions: list[Drawn]) -> set[str]:
        return {t.casefold() for q in questions for t in (q.asked.finding, q.asked.treatment)}

    assert not texts(drawn(book, images, texts_of([str(FILE)]), seed=1)) & held
    assert texts(drawn(book, images, set(), seed=1)) & held, "else the rule above is idle"


def test_half_are_pairs_of_the_same_words_with_two_images_and_two_answers(
    questions: list[Drawn],
) -> None:
    pairs = pairs_of(questions)
    assert 2 * len(pairs) == COUNT // 2
    for one, two in pairs:
        assert one.asked == two.asked
        assert one.image != two.image
        assert {one.answer, two.answer} == {"ERROR", "CORRECT"}
    alone = [q for q in questions if q.pair < 0]
    assert 0.4 < sum(q.answer == "ERROR" for q in alone) / len(alone) < 0.6


def test_the_answer_is_the_rule_books_for_the_images_label(
    questions: list[Drawn], book: RuleBook, images: Images
) -> None:
    for q in questions:
        inside = label_set().in_domain(q.asked.domain)
        right = right_answers(book, inside, q.asked.finding, q.asked.treatment)
        assert right[q.label] == (q.answer, q.severity)
        assert q.image in images[q.label]


def test_a_stated_answer_for_known_words(book: RuleBook) -> None:
    skin = label_set().in_domain("skin")
    right = right_answers(book, skin, "60-year-old, spot on the hand", "Freeze it today")
    assert right["melanoma"] == ("ERROR", "critical")
    assert right["actinic keratosis"] == ("CORRECT", "moderate")
    growing = right_answers(book, skin, "60-year-old, spot, growing", "Freeze it today")
    assert "actinic keratosis" not in growing, "no rule speaks of one that changes"


def test_a_seed_draws_the_same(book: RuleBook, images: Images, questions: list[Drawn]) -> None:
    left_out = texts_of([str(FILE)])
    assert drawn(book, images, left_out) == questions
    assert drawn(book, images, left_out, seed=1) != questions


def test_a_domain_without_images_is_refused(book: RuleBook, images: Images) -> None:
    skin = {name: images[name] for name in label_set().in_domain("skin")}
    with pytest.raises(ValueError, match="the rules or images of"):
        drawn(book, skin, set())


def test_a_table_that_is_none_is_named(tmp_path: Path) -> None:
    (tmp_path / "other.tsv").write_text("a\tb\n1\t2\n")
    with pytest.raises(DatasetError, match="no table with findings"):
        texts_of([str(tmp_path / "other.tsv")])
