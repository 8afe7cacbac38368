"""Claims about asking and scoring; asking real models is tested with the export."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from appliance.core.caption import caption_json
from appliance.core.ports import Captioner, Picture, Reading, ReleaseCard
from tests.training.tiny import HELD_BACK, every_label
from training.evaluate import Answer, Question, ask_release, evaluate, read_questions
from training.labels import label_set, label_table
from training.pixels import decode_square

LABELS = label_set()
NO_PIXELS = np.zeros((1, 1, 3), np.uint8)


def certain(label: str, text: str = "") -> Answer:
    """An answer whose likeliest label is `label`."""
    return Answer(text, tuple(0.0 if name == label else -9.0 for name in LABELS.names))


class Recording(Captioner):
    """Keeps the pictures it was shown and says the same of each."""

    def __init__(self) -> None:
        self.shown: list[Picture] = []

    @property
    def release(self) -> ReleaseCard:
        raise NotImplementedError

    def read(self, picture: Picture) -> Reading:
        self.shown.append(picture)
        return Reading("text", (0.0, -1.0))


def test_questions_are_the_splits_pictures_at_the_models_size(data: Path) -> None:
    questions = read_questions(data, "test", 28)
    assert sorted(question.label for question in questions) == sorted(HELD_BACK)
    row = next(row for row in every_label()["kermany_cxr"] if row["split"] == "test")
    chest = next(question for question in questions if question.label == "normal chest")
    assert np.array_equal(chest.rgb, decode_square(row["image"], 28))


def test_a_sample_is_so_many_of_each_domain_and_always_the_same(data: Path) -> None:
    questions = read_questions(data, "train", 4, most_per_domain=3)
    assert Counter(LABELS.domain_of(question.label) for question in questions) == {
        "skin": 3,
        "fundus": 3,
        "chest": 3,
    }
    again = read_questions(data, "train", 4, most_per_domain=3)
    assert [question.label for question in questions] == [question.label for question in again]
    assert all(
        np.array_equal(one.rgb, other.rgb) for one, other in zip(questions, again, strict=True)
    )


def test_a_sample_larger_than_the_split_is_the_split(data: Path) -> None:
    assert len(read_questions(data, "test", 4, most_per_domain=99)) == len(HELD_BACK)


def test_a_release_is_shown_the_questions_pixels_unchanged(data: Path) -> None:
    questions = read_questions(data, "test", 28)
    captioner = Recording()
    answers = ask_release(captioner, questions, lambda line: None)
    assert answers == [Answer("text", (0.0, -1.0))] * len(questions)
    for question, picture in zip(questions, captioner.shown, strict=True):
        assert picture.size == 28
        assert picture.rgb == question.rgb.tobytes()


def test_the_figures_count_labels_domains_and_captions_that_parse() -> None:
    caption = caption_json(label_table()[0].caption)
    questions = [Question(label, NO_PIXELS) for label in ("melanoma", "cataract", "normal chest")]
    answers = [
        certain("melanoma", caption),
        certain("glaucoma", caption[:-3]),
        certain("melanoma", '{"label": "melanoma"}'),
    ]
    figures = evaluate(LABELS, questions, answers)
    assert figures["images"] == 3
    assert figures["json_valid"] == pytest.approx(1 / 3)
    assert figures["domain_right"] == pytest.approx(2 / 3)
    accuracy = {domain: row["accuracy"] for domain, row in figures["domains"].items()}
    assert accuracy == {"skin": 1, "fundus": 0, "chest": 0}
