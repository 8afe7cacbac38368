"""Claims about calibration, on scores whose true distribution is known."""

import numpy as np
import pytest

from appliance.core.calibration import RISK, TEMPERATURES, calibrate, decision_figures
from appliance.core.decision import probabilities
from appliance.core.labels import DOMAINS
from training.evaluation.asking import Answer
from training.labels import label_set

LABELS = label_set()


def asked(count: int, seed: int, sharpness: float = 1.0) -> tuple[list[str], list[Answer]]:
    """Truths drawn from the very probabilities the scores state, which are then sharpened."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 1, (count, len(LABELS)))
    for row, domain in enumerate(rng.choice(DOMAINS, count)):
        inside = [LABELS.names.index(name) for name in LABELS.in_domain(domain)]
        logits[row, inside] += 6
    logits -= np.log(np.exp(logits).sum(1, keepdims=True))
    truth = [rng.choice(len(LABELS), p=np.exp(row)) for row in logits]
    names = [LABELS.names[position] for position in truth]
    return names, [Answer("", tuple((sharpness * row).tolist())) for row in logits]


def test_scores_that_are_already_right_keep_their_temperature() -> None:
    assert calibrate(LABELS, *asked(1500, seed=0)).temperature == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("sharpness", [0.5, 3.0])
def test_the_temperature_undoes_false_confidence_and_false_doubt(sharpness: float) -> None:
    found = calibrate(LABELS, *asked(1500, seed=0, sharpness=sharpness)).temperature
    assert found == pytest.approx(sharpness, rel=0.1)


@pytest.mark.parametrize("sharpness", [0.5, 1.0, 3.0])
def test_the_temperature_is_the_one_that_scipy_finds(sharpness: float) -> None:
    from scipy.optimize import minimize_scalar

    truth, answers = asked(400, seed=6, sharpness=sharpness)
    scores = np.array([answer.label_scores for answer in answers])
    places = [LABELS.names.index(name) for name in truth]

    def log_loss(temperature: float) -> float:
        logs = scores / temperature
        logs -= np.log(np.exp(logs).sum(1, keepdims=True))
        return -float(logs[np.arange(len(places)), places].mean())

    theirs = minimize_scalar(log_loss, bounds=TEMPERATURES, method="bounded").x
    assert calibrate(LABELS, truth, answers).temperature == pytest.approx(theirs, abs=1e-4)


def test_new_pictures_keep_their_true_label_as_often_as_promised() -> None:
    calibration = calibrate(LABELS, *asked(1500, seed=1, sharpness=2.0))
    truth, answers = asked(3000, seed=2, sharpness=2.0)
    assert calibration.risk == RISK
    for domain in DOMAINS:
        kept = [
            probabilities(answer.label_scores, calibration.temperature)[LABELS.names.index(label)]
            >= calibration.thresholds[domain]
            for label, answer in zip(truth, answers, strict=True)
            if LABELS.domain_of(label) == domain
        ]
        assert np.mean(kept) == pytest.approx(1 - RISK, abs=0.04)


def test_too_few_pictures_of_a_domain_let_every_label_through() -> None:
    truth, answers = asked(8, seed=3)
    assert set(calibrate(LABELS, truth, answers).thresholds.values()) == {0.0}


def test_the_shares_of_decisions_sum_to_one() -> None:
    truth, answers = asked(300, seed=4)
    calibration = calibrate(LABELS, truth, answers)
    figures = decision_figures(LABELS, truth, answers, calibration)
    assert set(figures) == set(DOMAINS)
    for row in figures.values():
        assert row["label"] + row["set"] + row["abstain"] == pytest.approx(1)
        assert 0 <= row.get("true_label_held", 0.0) <= 1


def test_a_domain_that_was_never_answered_has_no_share_of_labels_held() -> None:
    flat = Answer("", (0.0,) * len(LABELS))
    truth = ["cataract"]
    calibration = calibrate(LABELS, truth, [flat])
    (row,) = decision_figures(LABELS, truth, [flat], calibration).values()
    assert row["abstain"] == 1
    assert "true_label_held" not in row
