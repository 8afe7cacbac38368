"""Label, set or abstain."""

import math
import random

import pytest
from stand_ins import CARD, LABELS

from appliance.core.decision import conformal_threshold, decide, probabilities
from appliance.core.labels import Label, LabelSet


def test_probabilities_sum_to_one_and_keep_the_order() -> None:
    found = probabilities([-800.0, -1.0, -2.0], temperature=1.0)
    assert math.isclose(sum(found), 1.0)
    assert found[1] > found[2] > found[0] >= 0


def test_a_higher_temperature_is_less_sure() -> None:
    assert max(probabilities([0.0, -2.0], 4.0)) < max(probabilities([0.0, -2.0], 1.0))


@pytest.mark.parametrize(
    ("values", "kind", "kept"),
    [
        ((0.9, 0.1, 0.0, 0.0), "label", ("melanoma",)),
        ((0.3, 0.7, 0.0, 0.0), "set", ("melanocytic nevus", "melanoma")),
        ((0.1, 0.1, 0.4, 0.4), "abstain", ()),
    ],
)
def test_the_decision_follows_the_threshold(
    values: tuple[float, ...], kind: str, kept: tuple[str, ...]
) -> None:
    decision = decide(LABELS, dict(zip(LABELS.names, values, strict=True)), CARD.calibration)
    assert (decision.kind, decision.labels) == (kind, kept)
    assert decision.reason


def test_the_conformal_threshold_keeps_the_true_label_as_often_as_asked() -> None:
    rng = random.Random(0)
    calibration = [rng.random() ** 0.5 for _ in range(2000)]
    fresh = [rng.random() ** 0.5 for _ in range(20000)]
    for risk in (0.05, 0.1, 0.2):
        threshold = conformal_threshold(calibration, risk)
        kept = sum(value >= threshold for value in fresh) / len(fresh)
        assert abs(kept - (1 - risk)) < 0.015


def test_too_few_pictures_keep_every_label() -> None:
    assert conformal_threshold([0.5] * 5, risk=0.1) == 0.0


def test_a_likeliest_label_of_another_domain_than_the_likeliest_is_no_answer() -> None:
    labels = LabelSet(
        (
            Label("melanoma", "skin"),
            Label("normal fundus", "fundus"),
            *(Label(f"fundus {n}", "fundus") for n in range(9)),
        )
    )
    values = dict.fromkeys(labels.names, 0.05) | {"melanoma": 0.29, "normal fundus": 0.26}
    assert decide(labels, values, CARD.calibration).kind == "abstain"
