"""Claims about answers.jsonl: what it says, and that nothing is asked twice."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from appliance.core.caption import caption_json
from tests.training.evaluation.answering import (
    LABELS,
    TruthTeller,
    answered,
    caption_of,
    header,
    scores,
    write_evaluation,
)
from tests.training.tiny import HELD_BACK
from training.evaluation.answered import (
    ANSWERS,
    EvaluationError,
    answered_image,
    open_answers,
    read_evaluation,
)
from training.evaluation.asking import Answer
from training.evaluation.figures import FIGURES
from training.evaluation.questions import read_questions
from training.evaluation.run import run_evaluation
from training.measured.caption import Checked, measured_caption
from training.measured.frame import SIDE

IMAGES = [answered(3, "melanoma", "melanoma"), answered(7, "cataract", "glaucoma")]


def ask(teller: TruthTeller, data: Path, folder: Path) -> dict[str, Any]:
    return run_evaluation(teller.subject(), data, "test", None, folder, lambda line: None)


def test_a_line_says_the_truth_the_answer_and_what_the_image_bears_out(data: Path) -> None:
    question = read_questions(data, "test")[0]
    caption = measured_caption(question.label, question.square(SIDE))
    text = caption_json(caption)
    image = answered_image(LABELS, question, Answer(text, scores("cataract")))
    assert (image.dataset, image.row) == (question.example.dataset, question.example.row)
    assert image.group == f"{question.example.dataset} {question.example.group}"
    assert (image.label, image.found, image.text) == (question.label, "cataract", text)
    assert image.findings.confirmed == image.findings.stated > 0
    garbled = answered_image(LABELS, question, Answer(text[:-4], scores("cataract")))
    assert garbled.findings == Checked(0, 0, 0)


def test_the_file_is_one_json_object_a_line_with_the_agreed_keys(tmp_path: Path) -> None:
    image = answered(3, "melanoma", "melanoma", strata={"age": "40-59"}, findings=Checked(4, 3, 0))
    write_evaluation(tmp_path, [image], "model")
    first, second = map(json.loads, (tmp_path / ANSWERS).read_text().splitlines())
    assert {
        "kind": "answers",
        "model": "model",
        "split": "test",
        "images": 1,
    }.items() <= first.items()
    assert first["labels"] == list(LABELS.names)
    assert second == {
        "dataset": "ham10000",
        "row": 3,
        "group": "3",
        "domain": "skin",
        "label": "melanoma",
        "found": "melanoma",
        "text": caption_of("melanoma"),
        "label_scores": list(scores("melanoma")),
        "findings": {"stated": 4, "confirmed": 3, "unknown": 0},
        "strata": {"age": "40-59"},
    }


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    write_evaluation(tmp_path, IMAGES, "model")
    evaluation = read_evaluation(tmp_path)
    assert evaluation.header == header(2, "model")
    assert evaluation.images == tuple(IMAGES)


def test_a_killed_evaluation_goes_on_and_asks_nothing_twice(data: Path, tmp_path: Path) -> None:
    killed = TruthTeller(killed_after=2)
    with pytest.raises(KeyboardInterrupt):
        ask(killed, data, tmp_path / "killed")
    with pytest.raises(EvaluationError, match=f"has 2 of {len(HELD_BACK)} answers"):
        read_evaluation(tmp_path / "killed")
    with (tmp_path / "killed" / ANSWERS).open("ab") as file:
        file.write(b'{"dataset": "ham10')  # the line it was writing

    second, whole = TruthTeller(), TruthTeller()
    figures = ask(second, data, tmp_path / "killed")
    assert second.asked == len(HELD_BACK) - 2
    assert figures == ask(whole, data, tmp_path / "whole")
    for name in (ANSWERS, FIGURES):
        resumed, uninterrupted = ((tmp_path / f / name).read_bytes() for f in ("killed", "whole"))
        assert resumed == uninterrupted

    third = TruthTeller()
    assert ask(third, data, tmp_path / "whole") == figures
    assert third.asked == 0


def test_answers_of_another_model_are_not_gone_on_with(data: Path, tmp_path: Path) -> None:
    ask(TruthTeller(), data, tmp_path)
    before = (tmp_path / ANSWERS).read_bytes()
    other = TruthTeller().subject(sha256="f" * 64)
    with pytest.raises(
        EvaluationError, match=r"model_sha256 0+ there, f+ now; choose another --out"
    ):
        run_evaluation(other, data, "test", None, tmp_path, lambda line: None)
    listing = TruthTeller().subject(prompt_version=2)
    with pytest.raises(EvaluationError, match="prompt_version 1 there, 2 now"):
        run_evaluation(listing, data, "test", None, tmp_path, lambda line: None)
    with pytest.raises(EvaluationError, match="split test there, val now"):
        run_evaluation(TruthTeller().subject(), data, "val", None, tmp_path, lambda line: None)
    assert (tmp_path / ANSWERS).read_bytes() == before


def test_answers_about_other_data_are_not_gone_on_with(data: Path, tmp_path: Path) -> None:
    ask(TruthTeller(), data, tmp_path)
    text = (tmp_path / ANSWERS).read_text()
    (tmp_path / ANSWERS).write_text(text.replace('"label": "cataract"', '"label": "glaucoma"', 1))
    with pytest.raises(EvaluationError, match=r"about odir5k, row \d+ \(glaucoma\), which --data"):
        ask(TruthTeller(), data, tmp_path)


def test_two_evaluations_do_not_write_one_file(tmp_path: Path) -> None:
    with (
        open_answers(tmp_path, header(1)),
        pytest.raises(EvaluationError, match="another evaluation is writing"),
        open_answers(tmp_path, header(1)),
    ):
        raise AssertionError("opened twice")


@pytest.mark.parametrize(
    ("spoilt", "complaint"),
    [
        ("{}\n", r"line 3: not an answer \(KeyError"),
        ("nonsense\n", r"line 3: not an answer \(JSONDecodeError"),
        ("[1]\n", r"line 3: not an answer \(TypeError"),
    ],
)
def test_a_damaged_line_is_named(tmp_path: Path, spoilt: str, complaint: str) -> None:
    write_evaluation(tmp_path, IMAGES, "model")
    path = tmp_path / ANSWERS
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join([*lines[:2], spoilt]))
    with pytest.raises(EvaluationError, match=complaint):
        read_evaluation(tmp_path)


def test_an_answer_outside_the_label_list_or_given_twice_is_named(tmp_path: Path) -> None:
    write_evaluation(tmp_path, IMAGES, "model")
    path = tmp_path / ANSWERS
    text = path.read_text()
    path.write_text(text.replace('"found": "glaucoma"', '"found": "gout"'))
    with pytest.raises(EvaluationError, match=r"line 3: .* its labels are not those"):
        read_evaluation(tmp_path)
    path.write_text(text + text.splitlines(keepends=True)[1])
    with pytest.raises(EvaluationError, match="answered twice"):
        read_evaluation(tmp_path)


def test_a_folder_without_answers_says_how_to_make_them(tmp_path: Path) -> None:
    with pytest.raises(EvaluationError, match="make it with `python -m training evaluate`"):
        read_evaluation(tmp_path)


def test_an_empty_split_and_a_label_the_model_has_not_are_said(data: Path, tmp_path: Path) -> None:
    from dataclasses import replace

    from appliance.core.labels import LabelSet

    fewer = LabelSet(tuple(label for label in LABELS if label.name != "cataract"))
    subject = replace(TruthTeller().subject(), labels=fewer)
    with pytest.raises(EvaluationError, match="truth-teller cannot give the label cataract"):
        run_evaluation(subject, data, "test", None, tmp_path, lambda line: None)
    assert not (tmp_path / ANSWERS).exists()


def test_found_is_the_label_with_the_highest_score(data: Path) -> None:
    question = read_questions(data, "test")[0]
    rising = tuple(np.linspace(-9, -1, len(LABELS)).tolist())
    assert answered_image(LABELS, question, Answer("", rising)).found == LABELS.names[-1]
