"""Label, set or abstain."""

import math

import pytest
from stand_ins import CARD, LABELS

from appliance.core.decision import (
    RISK,
    RISKS,
    Belief,
    Calibration,
    Decision,
    believe,
    conformal_threshold,
    decide,
    probabilities,
)
from appliance.core.labels import Domain, Label, LabelSet


def decided(values: tuple[float, ...], risk: float = RISK, domain: Domain = "skin") -> Decision:
    belief = Belief(domain, dict(zip(LABELS.names, values, strict=True)))
    return decide(LABELS, belief, CARD.calibration, risk)


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
    decision = decided(values)
    assert (decision.kind, decision.labels, decision.risk) == (kind, kept, RISK)
    assert decision.reason


def test_a_smaller_risk_keeps_more_labels() -> None:
    assert decided((0.9, 0.1, 0.0, 0.0), 0.1).labels == ("melanoma",)
    assert decided((0.9, 0.1, 0.0, 0.0), 0.01).labels == ("melanoma", "melanocytic nevus")


def test_a_risk_without_a_threshold_is_no_answer() -> None:
    decision = decided((0.9, 0.1, 0.0, 0.0), 0.05)
    assert (decision.kind, decision.risk) == ("abstain", 0.05)
    assert "5%" in decision.reason


def test_a_likeliest_label_of_another_domain_than_the_likeliest_is_no_answer() -> None:
    labels = LabelSet(
        (
            Label("melanoma", "skin"),
            Label("normal fundus", "fundus"),
            *(Label(f"fundus {n}", "fundus") for n in range(9)),
        )
    )
    values = dict.fromkeys(labels.names, 0.05) | {"melanoma": 0.29, "normal fundus": 0.26}
    assert decide(labels, Belief("fundus", values), CARD.calibration, RISK).kind == "abstain"


def test_the_domain_is_found_before_its_temperature_is_applied() -> None:
    """Fundus holds most at temperature 1; at its own 10 the other domains together hold more."""
    thresholds = CARD.calibration.thresholds
    calibration = Calibration({"skin": 1.0, "fundus": 10.0, "chest": 1.0}, thresholds)
    scores = (-1.0, -1.2, -0.2, -9.0)
    found = believe(LABELS, scores, calibration)
    assert found.domain == "fundus"
    assert tuple(found.probability.values()) == pytest.approx(probabilities(scores, 10.0))
    assert decide(LABELS, found, calibration, RISK).kind == "abstain"


def test_the_threshold_is_the_conformal_quantile() -> None:
    """Of n values the floor(risk (n + 1))-th least: Vovk's n + 1 for the new picture."""
    values = [n / 100 for n in range(1, 100)]
    for percent, risk in enumerate(RISKS, 1):
        assert conformal_threshold(values[::-1], risk) == percent / 100
    assert conformal_threshold(values[:8], 0.1) is None
    assert conformal_threshold(values[:9], 0.1) == 0.01


def test_no_threshold_keeps_a_risk_that_wrong_domains_exceed() -> None:
    values = [0.0] * 20 + [0.5] * 79
    assert conformal_threshold(values, 0.2) is None
    assert conformal_threshold(values, 0.21) == 0.5
