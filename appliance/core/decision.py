"""From probabilities to a decision: one label, a set of labels, or abstain.

Split conformal prediction with the least ambiguous set (Sadinle, Lei and Wasserman 2019,
doi:10.1080/01621459.2017.1395341): within the domain the picture belongs to, every label whose
probability reaches the domain's threshold is kept, and the threshold is the one that kept the
true label on all but the risk target of the calibration images.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from appliance.core.labels import DOMAINS, Domain, LabelSet

WIDEST_SET = 3
"""A set of more labels than this helps nobody choose: abstain."""
DOMAIN_FLOOR = 0.7
"""A picture whose likeliest domain holds less of the probability belongs to none of them."""


@dataclass(frozen=True)
class Calibration:
    """What a release learnt on its calibration images."""

    temperature: float
    """Divides the label scores before they become probabilities."""
    risk: float
    """The share of calibration pictures whose true label the threshold left out, counted before
    sets that are too wide are withheld; answers that are given may miss it more often."""
    thresholds: Mapping[Domain, float]
    """Least probability of a label that is kept, by domain; 0 where nothing was measured."""

    @property
    def is_measured(self) -> bool:
        """Whether there is a domain whose answers rest on measured pictures."""
        return any(self.thresholds.values())


UNMEASURED = Calibration(1.0, 0.0, dict.fromkeys(DOMAINS, 0.0))
"""Of a release that nobody has measured: it abstains on every picture."""


@dataclass(frozen=True)
class Decision:
    kind: Literal["label", "set", "abstain"]
    labels: tuple[str, ...]
    """Likeliest first; empty when abstaining."""
    reason: str
    """In plain words, for the person who reads the result."""


def probabilities(scores: Sequence[float], temperature: float) -> tuple[float, ...]:
    """Softmax of log-scores over `temperature`; sums to 1."""
    scaled = [score / temperature for score in scores]
    top = max(scaled)
    weights = [math.exp(score - top) for score in scaled]
    total = sum(weights)
    return tuple(weight / total for weight in weights)


def likeliest_domain(labels: LabelSet, probability: Mapping[str, float]) -> tuple[Domain, float]:
    """The domain that holds most of the probability, and how much."""
    mass = {d: sum(probability[name] for name in labels.in_domain(d)) for d in DOMAINS}
    domain = max(DOMAINS, key=lambda d: mass[d])
    return domain, mass[domain]


def decide(
    labels: LabelSet, probability: Mapping[str, float], calibration: Calibration
) -> Decision:
    domain, mass = likeliest_domain(labels, probability)
    threshold = calibration.thresholds[domain]
    if not threshold:
        return Decision("abstain", (), "this release was not measured on pictures of this kind")
    if mass < DOMAIN_FLOOR:
        return Decision("abstain", (), "the picture fits none of the kinds this release knows")
    likeliest = max(labels.names, key=lambda name: probability[name])
    if labels.domain_of(likeliest) != domain:
        return Decision("abstain", (), "the likeliest label is of another kind of picture")
    kept = [name for name in labels.in_domain(domain) if probability[name] >= threshold]
    kept.sort(key=lambda name: -probability[name])
    if not kept:
        return Decision("abstain", (), "no label is likely enough to answer")
    if len(kept) > WIDEST_SET:
        return Decision("abstain", (), f"{len(kept)} labels are too close to tell apart")
    if len(kept) == 1:
        return Decision("label", (kept[0],), "the only label that is likely enough")
    return Decision("set", tuple(kept), f"{len(kept)} labels are likely enough")


def conformal_threshold(true_label_probabilities: Sequence[float], risk: float) -> float:
    """The threshold that keeps the true label on at least 1 - `risk` of new pictures.

    `true_label_probabilities`: the probability each calibration picture gave its true label.
    Returns 0.0 (the domain counts as not measured) when there are too few pictures for the risk.
    """
    ordered = sorted(true_label_probabilities)
    allowed = math.floor(risk * (len(ordered) + 1)) - 1
    return ordered[allowed] if allowed >= 0 else 0.0
