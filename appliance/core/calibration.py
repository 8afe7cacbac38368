"""What measured pictures teach a release, and how far figures from so many pictures are known.

One calibration, and one set of figures of it, for the maker's splits and for a site's own
pictures. Plain numbers in and out; knows no file and no model.

Chosen on the demonstration's validation pictures, where others were tried:
- One temperature a domain, at which confidence is accuracy. On fundus pictures, where training
  weighed rare labels up, the calibration error is 0.06; with least log-loss (Guo et al. 2017,
  arXiv:1706.04599) 0.08, with one temperature for all domains 0.12.
- Sets by a threshold on the probability. Adding probabilities up (Romano et al. 2020,
  arXiv:2006.02544; Angelopoulos et al. 2021, arXiv:2009.14193) answers 14 % of skin pictures with
  one label, not 49 %, at the same coverage of pictures held back.
- No correction of the scores to how frequent each label is (Alexandari et al. 2020,
  arXiv:1901.06852). It answers 60 % of fundus pictures, not 32 %, by leaving out the rare labels:
  the sets then keep 68 % of melanomas, not 88 %.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from appliance.core.decision import (
    RISK,
    RISKS,
    Belief,
    Calibration,
    believe,
    conformal_threshold,
    decide,
    kept_labels,
    probabilities,
)
from appliance.core.labels import DOMAINS, Domain, LabelSet

LEAST_CALIBRATION = math.ceil(1 / RISK) - 1
"""Fewer pictures of a domain cannot keep the usual risk: it stays unmeasured."""
STATED_RISKS = (0.05, RISK, 0.2)
"""Risk targets at which a release states what it does."""
TEMPERATURES = (0.2, 10.0)
TEMPERATURE_TOLERANCE = 1e-6
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
    """As share_interval."""


def calibrate(labels: LabelSet, truth: Sequence[str], answers: Sequence[Scored]) -> Calibration:
    """A temperature a domain, and a threshold a domain and risk by split conformal prediction.
    `truth` is the true label of each answer's image."""
    temperatures: dict[Domain, float] = {}
    for domain in DOMAINS:
        inside = _in_domain(labels, domain, truth, answers)
        right = [_likeliest(labels, scores) == name for name, scores in inside]
        rows = [scores for _, scores in inside]
        temperatures[domain] = confident_temperature(rows, sum(right)) if rows else 1.0
    bare = Calibration(temperatures, {})
    thresholds: dict[Domain, dict[float, float]] = {}
    for domain in DOMAINS:
        true_probability = []
        for name, scores in _in_domain(labels, domain, truth, answers):
            belief = believe(labels, scores, bare)
            true_probability.append(belief.probability[name] if belief.domain == domain else 0.0)
        found = {risk: conformal_threshold(true_probability, risk) for risk in RISKS}
        thresholds[domain] = {r: value for r, value in found.items() if value is not None}
    return Calibration(temperatures, thresholds)


def confident_temperature(rows: Sequence[Sequence[float]], right: int) -> float:
    """The temperature at which the mean probability of the likeliest label is the share of pictures
    where it is `right` (Clarté et al. 2023, arXiv:2303.02644), found by halving.

    One more right and one more wrong picture are counted (Laplace's rule of succession), so that a
    few pictures which are all right do not end in certainty.
    """
    wanted = (right + 1) / (len(rows) + 2)
    low, high = TEMPERATURES
    while high - low > TEMPERATURE_TOLERANCE:
        middle = (low + high) / 2
        mean = math.fsum(max(probabilities(scores, middle)) for scores in rows) / len(rows)
        low, high = (middle, high) if mean > wanted else (low, middle)
    return (low + high) / 2


def decision_figures(
    labels: LabelSet,
    truth: Sequence[str],
    groups: Sequence[str],
    answers: Sequence[Scored],
    calibration: Calibration,
) -> dict[str, dict[str, Any]]:
    """By domain: is it as often right as it is sure, and by risk target what it decides and how
    often the true label is kept, in the form of the manifest. Each answer's picture has its true
    label in `truth` and its patient or lesion in `groups`."""
    figures: dict[str, dict[str, Any]] = {}
    for domain in DOMAINS:
        pictures = _in_domain(labels, domain, truth, answers)
        if not pictures:
            continue
        alike = [
            group
            for name, group in zip(truth, groups, strict=True)
            if labels.domain_of(name) == domain
        ]
        inside = [(name, believe(labels, scores, calibration)) for name, scores in pictures]
        bins = reliability_bins(
            [max(belief.probability.values()) for _, belief in inside],
            [_likeliest(labels, scores) == name for name, scores in pictures],
            alike,
        )
        figures[domain] = {
            "images": len(inside),
            "calibration_error": calibration_error(bins),
            "reliability": [asdict(each) for each in bins],
            "at_risk": {
                str(risk): _at_risk(labels, inside, alike, calibration, risk)
                for risk in STATED_RISKS
                if risk in calibration.thresholds[domain]
            },
        }
    return figures


def _at_risk(
    labels: LabelSet,
    pictures: Sequence[tuple[str, Belief]],
    groups: Sequence[str],
    calibration: Calibration,
    risk: float,
) -> dict[str, Any]:
    """Of pictures of one domain, each a true label and a belief."""
    kinds: list[str] = []
    is_kept: list[bool] = []
    answers: list[bool] = []
    answered: list[str] = []
    by_label: dict[str, list[bool]] = {}
    for (name, belief), group in zip(pictures, groups, strict=True):
        holds = name in (kept_labels(labels, belief, calibration, risk) or ())
        is_kept.append(holds)
        by_label.setdefault(name, []).append(holds)
        kinds.append(decide(labels, belief, calibration, risk).kind)
        if kinds[-1] != "abstain":
            answers.append(holds)
            answered.append(group)
    return {
        "coverage_wanted": 1 - risk,
        "coverage": sum(is_kept) / len(is_kept),
        "coverage_interval": share_interval(is_kept, groups),
        "coverage_by_label": {
            name: sum(by_label[name]) / len(by_label[name])
            for name in labels.names
            if name in by_label
        },
        **{kind: kinds.count(kind) / len(kinds) for kind in ("label", "set", "abstain")},
        "answers_right": sum(answers) / len(answers) if answers else None,
        "answers_right_interval": share_interval(answers, answered) if answers else None,
    }


def _in_domain(
    labels: LabelSet, domain: Domain, truth: Sequence[str], answers: Sequence[Scored]
) -> list[tuple[str, tuple[float, ...]]]:
    """Each picture of the domain: its true label, and the score of every label."""
    return [
        (name, answer.label_scores)
        for name, answer in zip(truth, answers, strict=True)
        if labels.domain_of(name) == domain
    ]


def _likeliest(labels: LabelSet, scores: Sequence[float]) -> str:
    return labels.names[scores.index(max(scores))]


def wilson(correct: float, total: float, z: float = 1.96) -> tuple[float, float]:
    """Wilson score interval of a share (Wilson 1927, doi:10.1080/01621459.1927.10502953), 95 % by
    default."""
    share = correct / total
    centre = (share + z * z / (2 * total)) / (1 + z * z / total)
    half = z / (1 + z * z / total)
    half *= math.sqrt(share * (1 - share) / total + z * z / (4 * total * total))
    return max(0.0, centre - half), min(1.0, centre + half)


def share_interval(
    right: Sequence[int], groups: Sequence[str], of: Sequence[int] | None = None
) -> tuple[float, float]:
    """95 % interval of the share sum(`right`) / sum(`of`), `of` being 1 for each where not given,
    when those of one group (a patient, a lesion) are alike and only the groups are independent.

    Wilson's, for as many as would tell as much if each stood alone: the total by its design effect
    (Rao and Scott 1992, doi:10.2307/2532311; recommended with Wilson's interval by Franco et al.
    2019, doi:10.1093/jssam/smy019), which is taken to be at least 1, and where all or none are
    right, what it would be if those of a group were always the same.
    """
    by_group: dict[str, tuple[int, int]] = {}
    for group, hits, count in zip(groups, right, of or [1] * len(right), strict=True):
        before = by_group.get(group, (0, 0))
        by_group[group] = (before[0] + hits, before[1] + count)
    correct, total = (sum(each[side] for each in by_group.values()) for side in (0, 1))
    share = correct / total
    if 0 < correct < total:
        spread = math.fsum((hits - share * count) ** 2 for hits, count in by_group.values())
        effect = max(1.0, spread / (total * share * (1 - share)))
    else:
        effect = sum(count**2 for _, count in by_group.values()) / total
    return wilson(correct / effect, total / effect)


def reliability_bins(
    confidences: Sequence[float], is_right: Sequence[bool], groups: Sequence[str]
) -> list[Bin]:
    """Ten bins of equal width, those without pictures left out."""
    members: list[list[tuple[float, bool, str]]] = [[] for _ in range(BINS)]
    for sure, right, group in zip(confidences, is_right, groups, strict=True):
        members[min(int(sure * BINS), BINS - 1)].append((sure, right, group))
    return [
        Bin(
            low=place / BINS,
            high=(place + 1) / BINS,
            images=len(inside),
            confidence=sum(sure for sure, _, _ in inside) / len(inside),
            accuracy=sum(right for _, right, _ in inside) / len(inside),
            accuracy_interval=share_interval(
                [right for _, right, _ in inside], [group for *_, group in inside]
            ),
        )
        for place, inside in enumerate(members)
        if inside
    ]


def calibration_error(bins: Sequence[Bin]) -> float:
    """Expected calibration error (Guo et al. 2017, arXiv:1706.04599)."""
    total = sum(b.images for b in bins)
    return sum(b.images * abs(b.accuracy - b.confidence) for b in bins) / total
