"""From label scores to a decision: one label, a set of labels, or abstain.

Split conformal prediction with the least ambiguous set (Sadinle, Lei and Wasserman 2019,
doi:10.1080/01621459.2017.1395341): within the domain that the picture belongs to, every label
whose probability reaches the domain's threshold is kept. On new pictures like those that were
calibrated on, the set so kept lacks the true label as often as the risk target allows, no more.

That promise is of the set as it is kept. A set that is too wide, or of a picture that fits no
domain, is withheld afterwards: an abstention claims nothing and so misses nothing, whatever it
withheld. An empty set misses. Of the answers that are given, more may miss than the risk target
says; how many is measured and stated beside it.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from appliance.core.labels import DOMAINS, Domain, LabelSet

RISKS = tuple(percent / 100 for percent in range(1, 31))
"""The risk targets that a site may set: the share of pictures whose set may lack the true label."""
RISK = 0.1
"""The one in force where a site sets none."""
WIDEST_SET = 3
"""A set of more labels than this helps nobody choose: abstain."""
DOMAIN_FLOOR = 0.7
"""A picture whose likeliest domain holds less of the probability belongs to none of them."""
NOT_MEASURED = "this release was not measured on pictures of this kind"
"""The one reason to abstain for which the model's words are shown nevertheless, for trial only."""


@dataclass(frozen=True)
class Calibration:
    """What a release learnt on its calibration images."""

    temperatures: Mapping[Domain, float]
    """Divides the label scores of a picture of the domain before they become probabilities."""
    thresholds: Mapping[Domain, Mapping[float, float]]
    """By domain and risk target: least probability of a label that is kept. A risk that too few
    pictures were measured for is left out; of a domain that was not measured, every one is."""

    @property
    def is_measured(self) -> bool:
        """Whether there is a domain whose answers rest on measured pictures."""
        return any(self.thresholds.values())


UNMEASURED = Calibration(dict.fromkeys(DOMAINS, 1.0), {domain: {} for domain in DOMAINS})
"""Of a release that nobody has measured: it abstains on every picture."""


@dataclass(frozen=True)
class Belief:
    """How likely each label is, and the domain the picture most likely belongs to."""

    domain: Domain
    probability: Mapping[str, float]
    """Of every label of the release; sums to 1."""


@dataclass(frozen=True)
class Decision:
    kind: Literal["label", "set", "abstain"]
    labels: tuple[str, ...]
    """Likeliest first; empty when abstaining."""
    reason: str
    """In plain words, for the person who reads the result."""
    risk: float
    """The risk target it was made at."""


def probabilities(scores: Sequence[float], temperature: float) -> tuple[float, ...]:
    """Softmax of log-scores over `temperature`; sums to 1."""
    scaled = [score / temperature for score in scores]
    top = max(scaled)
    weights = [math.exp(score - top) for score in scaled]
    total = sum(weights)
    return tuple(weight / total for weight in weights)


def believe(labels: LabelSet, scores: Sequence[float], calibration: Calibration) -> Belief:
    """From each label's log-score, in the label set's order. The domain is the one that holds most
    of the probability at temperature 1; its own temperature then holds for all labels."""
    mass = dict.fromkeys(DOMAINS, 0.0)
    for label, value in zip(labels, probabilities(scores, 1.0), strict=True):
        mass[label.domain] += value
    domain = max(DOMAINS, key=lambda d: mass[d])
    values = probabilities(scores, calibration.temperatures[domain])
    return Belief(domain, dict(zip(labels.names, values, strict=True)))


def kept_labels(
    labels: LabelSet, belief: Belief, calibration: Calibration, risk: float
) -> tuple[str, ...] | None:
    """The labels of the belief's domain that reach its threshold, likeliest first; None where
    there is no threshold for the risk."""
    threshold = calibration.thresholds[belief.domain].get(risk)
    if threshold is None:
        return None
    chance = belief.probability
    inside = labels.in_domain(belief.domain)
    kept = [name for name in inside if chance[name] >= threshold]
    return tuple(sorted(kept, key=lambda name: -chance[name]))


def decide(labels: LabelSet, belief: Belief, calibration: Calibration, risk: float) -> Decision:
    def abstain(reason: str) -> Decision:
        return Decision("abstain", (), reason, risk)

    kept = kept_labels(labels, belief, calibration, risk)
    if not calibration.thresholds[belief.domain]:
        return abstain(NOT_MEASURED)
    if kept is None:
        return abstain(f"too few pictures of this kind were measured for a risk of {risk:.0%}")
    chance = belief.probability
    if sum(chance[name] for name in labels.in_domain(belief.domain)) < DOMAIN_FLOOR:
        return abstain("the picture fits none of the kinds this release knows")
    likeliest = max(labels.names, key=lambda name: chance[name])
    if labels.domain_of(likeliest) != belief.domain:
        return abstain("the likeliest label is of another kind of picture")
    if not kept:
        return abstain("no label is likely enough to answer")
    if len(kept) > WIDEST_SET:
        return abstain(f"{len(kept)} labels are too close to tell apart")
    if len(kept) == 1:
        return Decision("label", kept, "the only label that is likely enough", risk)
    return Decision("set", kept, f"{len(kept)} labels are likely enough", risk)


def conformal_threshold(true_label_probabilities: Sequence[float], risk: float) -> float | None:
    """The threshold that keeps the true label on at least 1 - `risk` of new pictures.

    `true_label_probabilities`: the probability each calibration picture gave its true label, 0
    where it was taken for a picture of another domain. None when no threshold keeps the risk: too
    few pictures, or too many of them taken for another domain.
    """
    ordered = sorted(true_label_probabilities)
    # Rounded: 0.29 * 100 is a hair under 29, and floor would lose a picture.
    allowed = math.floor(round(risk * (len(ordered) + 1), 9)) - 1
    return ordered[allowed] if allowed >= 0 and ordered[allowed] > 0 else None
