"""Claims about calibration, on scores whose true distribution is known."""

import numpy as np
import pytest

from appliance.core.decision import probabilities
from appliance.core.labels import DOMAINS
from training.calibrate import RISK, calibrate, decision_figures
from training.evaluate import Answer, Question
from training.labels import label_set

LABELS = label_set()
NO_PIXELS = np.zeros((1, 1, 3), np.uint8)


def asked(count: int, seed: int, sharpness: float = 1.0) -> tuple[list[Question], list[Answer]]:
    """Truths drawn from the very probabilities the scores state, which are then sharpened."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 1, (count, len(LABELS)))
    for row, domain in enumerate(rng.choice(DOMAINS, count)):
        inside = [LABELS.names.index(name) for name in LABELS.in_domain(domain)]
        logits[row, inside] += 6
    logits -= np.log(np.exp(logits).sum(1, keepdims=True))
    truth = [rng.choice(len(LABELS), p=np.exp(row)) for row in logits]
    questions = [Question(LABELS.names[position], NO_PIXELS) for position in truth]
    return questions, [Answer("", tuple((sharpness * row).tolist())) for row in logits]


def test_scores_that_are_already_right_keep_their_temperature() -> None:
    assert calibrate(LABELS, *asked(1500, seed=0)).temperature == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("sharpness", [0.5, 3.0])
def test_the_temperature_undoes_false_confidence_and_false_doubt(sharpness: float) -> None:
    found = calibrate(LABELS, *asked(1500, seed=0, sharpness=sharpness)).temperature
    assert found == pytest.approx(sharpness, rel=0.1)


def test_new_pictures_keep_their_true_label_as_often_as_promised() -> None:
    calibration = calibrate(LABELS, *asked(1500, seed=1, sharpness=2.0))
    questions, answers = asked(3000, seed=2, sharpness=2.0)
    assert calibration.risk == RISK
    for domain in DOMAINS:
        kept = [
            probabilities(answer.label_scores, calibration.temperature)[
                LABELS.names.index(question.label)
            ]
            >= calibration.thresholds[domain]
            for question, answer in zip(questions, answers, strict=True)
            if LABELS.domain_of(question.label) == domain
        ]
        assert np.mean(kept) == pytest.approx(1 - RISK, abs=0.04)


def test_too_few_pictures_of_a_domain_let_every_label_through() -> None:
    questions, answers = asked(8, seed=3)
    assert set(calibrate(LABELS, questions, answers).thresholds.values()) == {0.0}


def test_the_shares_of_decisions_sum_to_one() -> None:
    questions, answers = asked(300, seed=4)
    calibration = calibrate(LABELS, questions, answers)
    figures = decision_figures(LABELS, questions, answers, calibration)
    assert set(figures) == set(DOMAINS)
    for row in figures.values():
        assert row["label"] + row["set"] + row["abstain"] == pytest.approx(1)
        assert 0 <= row.get("true_label_held", 0.0) <= 1


def test_a_domain_that_was_never_answered_has_no_share_of_labels_held() -> None:
    flat = Answer("", (0.0,) * len(LABELS))
    questions = [Question("cataract", NO_PIXELS)]
    calibration = calibrate(LABELS, questions, [flat])
    (row,) = decision_figures(LABELS, questions, [flat], calibration).values()
    assert row["abstain"] == 1
    assert "true_label_held" not in row
