"""What measured pictures teach a release, and how far figures from so many pictures are known.

One calibration for the maker's validation split and for a site's own pictures. Plain numbers in
and out; knows no file and no model.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from appliance.core.decision import Calibration, conformal_threshold, decide, probabilities
from appliance.core.labels import DOMAINS, LabelSet

RISK = 0.1
LEAST_CALIBRATION = math.ceil(1 / RISK) - 1
"""Fewer pictures of a domain cannot keep the risk: it stays unmeasured."""
TEMPERATURES = (0.2, 10.0)
TEMPERATURE_TOLERANCE = 1e-6
GOLDEN = (math.sqrt(5) - 1) / 2
BINS = 10


class Scored(Protocol):
    """An answer, as far as calibration looks at it."""

    @property
    def label_scores(self) -> tuple[float, ...]:
        """Natural log-probability of each label, in the label set's order."""


@dataclass(frozen=True)
class Bin:
    """Pictures whose likeliest label has a probability from `low` to `high`."""

    low: float
    high: float
    images: int
    confidence: float
    """Mean probability of the likeliest label."""
    accuracy: float
    accuracy_interval: tuple[float, float]
    """Wilson, 95 %."""


def calibrate(labels: LabelSet, truth: Sequence[str], answers: Sequence[Scored]) -> Calibration:
    """Temperature by least log-loss (Guo et al. 2017, arXiv:1706.04599); a threshold a domain by
    split conformal prediction. `truth` is the true label of each answer's image."""
    places = [labels.names.index(name) for name in truth]
    rows = [answer.label_scores for answer in answers]

    def log_loss(temperature: float) -> float:
        total = 0.0
        for place, scores in zip(places, rows, strict=True):
            top = max(scores)
            rest = math.fsum(math.exp((score - top) / temperature) for score in scores)
            total += math.log(rest) - (scores[place] - top) / temperature
        return total / len(rows)

    temperature = least(log_loss, *TEMPERATURES, TEMPERATURE_TOLERANCE)
    thresholds = {}
    for domain in DOMAINS:
        true_probability = [
            probabilities(scores, temperature)[place]
            for name, place, scores in zip(truth, places, rows, strict=True)
            if labels.domain_of(name) == domain
        ]
        thresholds[domain] = conformal_threshold(true_probability, RISK)
    return Calibration(temperature, RISK, thresholds)


def least(function: Callable[[float], float], low: float, high: float, tolerance: float) -> float:
    """Where a function with one valley is least, by golden-section search (Kiefer 1953,
    doi:10.1090/S0002-9939-1953-0055639-3)."""
    left, right = high - GOLDEN * (high - low), low + GOLDEN * (high - low)
    at_left, at_right = function(left), function(right)
    while high - low > tolerance:
        if at_left < at_right:
            high, right, at_right = right, left, at_left
            left = high - GOLDEN * (high - low)
            at_left = function(left)
        else:
            low, left, at_left = left, right, at_right
            right = low + GOLDEN * (high - low)
            at_right = function(right)
    return (low + high) / 2


def decision_figures(
    labels: LabelSet,
    truth: Sequence[str],
    answers: Sequence[Scored],
    calibration: Calibration,
) -> dict[str, dict[str, float]]:
    """By domain: how often each kind of decision is made, and how often an answer holds the
    true label (counting only pictures that were answered)."""
    figures: dict[str, dict[str, float]] = {}
    for domain in DOMAINS:
        kinds, held = [], []
        for name, answer in zip(truth, answers, strict=True):
            if labels.domain_of(name) != domain:
                continue
            values = probabilities(answer.label_scores, calibration.temperature)
            decision = decide(labels, dict(zip(labels.names, values, strict=True)), calibration)
            kinds.append(decision.kind)
            if decision.kind != "abstain":
                held.append(name in decision.labels)
        if kinds:
            figures[domain] = {
                **{kind: kinds.count(kind) / len(kinds) for kind in ("label", "set", "abstain")},
                **({"true_label_held": sum(held) / len(held)} if held else {}),
            }
    return figures


def wilson(correct: int, total: int, z: float = 1.96) -> tuple[float, float]:
    """Wilson score interval of a share (Wilson 1927, doi:10.1080/01621459.1927.10502953), 95 % by
    default."""
    share = correct / total
    centre = (share + z * z / (2 * total)) / (1 + z * z / total)
    half = z / (1 + z * z / total)
    half *= math.sqrt(share * (1 - share) / total + z * z / (4 * total * total))
    return max(0.0, centre - half), min(1.0, centre + half)


def reliability_bins(confidences: Sequence[float], is_right: Sequence[bool]) -> list[Bin]:
    """Ten bins of equal width, those without pictures left out."""
    members: list[list[tuple[float, bool]]] = [[] for _ in range(BINS)]
    for sure, right in zip(confidences, is_right, strict=True):
        members[min(int(sure * BINS), BINS - 1)].append((sure, right))
    return [
        Bin(
            low=place / BINS,
            high=(place + 1) / BINS,
            images=len(inside),
            confidence=sum(sure for sure, _ in inside) / len(inside),
            accuracy=sum(right for _, right in inside) / len(inside),
            accuracy_interval=wilson(sum(right for _, right in inside), len(inside)),
        )
        for place, inside in enumerate(members)
        if inside
    ]


def calibration_error(bins: Sequence[Bin]) -> float:
    """Expected calibration error (Guo et al. 2017, arXiv:1706.04599)."""
    total = sum(b.images for b in bins)
    return sum(b.images * abs(b.accuracy - b.confidence) for b in bins) / total
