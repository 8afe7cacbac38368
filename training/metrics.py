"""The figures of an evaluation: accuracy, balanced accuracy, precision, recall, F1, intervals."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from appliance.core.labels import DOMAINS, Domain, LabelSet


@dataclass(frozen=True)
class Scores:
    """One domain's figures; precision, recall and F1 are macro means over its labels."""

    images: int
    accuracy: float
    accuracy_interval: tuple[float, float]
    """Wilson, 95 %."""
    balanced_accuracy: float
    balanced_accuracy_interval: tuple[float, float]
    """Bootstrap within each label, 95 %."""
    precision: float
    recall: float
    f1: float
    recall_by_label: dict[str, float]


def domain_scores(
    labels: LabelSet, truth: NDArray[np.int64], found: NDArray[np.int64]
) -> dict[Domain, Scores]:
    """Figures by the domain of the truth; a label found in another domain is simply wrong.

    `truth` and `found` are positions in `labels`; -1 in `found` is an unreadable answer.
    """
    from sklearn.metrics import precision_recall_fscore_support  # slow to import

    scores: dict[Domain, Scores] = {}
    for domain in DOMAINS:
        names = labels.in_domain(domain)
        positions = [labels.names.index(name) for name in names]
        inside = np.isin(truth, positions)
        if not inside.any():
            continue
        y, z = truth[inside], found[inside]
        present = [p for p in positions if (y == p).any()]
        precision, recall, f1, _ = precision_recall_fscore_support(
            y, z, labels=present, zero_division=0
        )
        correct = int((y == z).sum())
        scores[domain] = Scores(
            images=len(y),
            accuracy=correct / len(y),
            accuracy_interval=wilson(correct, len(y)),
            balanced_accuracy=float(np.mean(recall)),
            balanced_accuracy_interval=_balanced_interval(y, z),
            precision=float(np.mean(precision)),
            recall=float(np.mean(recall)),
            f1=float(np.mean(f1)),
            recall_by_label={
                labels.names[p]: float(r) for p, r in zip(present, recall, strict=True)
            },
        )
    return scores


RETINOPATHY_OR_WORSE = (
    "moderate diabetic retinopathy",
    "severe diabetic retinopathy",
    "proliferative diabetic retinopathy",
)


def merge_retinopathy(labels: LabelSet, positions: NDArray[np.int64]) -> NDArray[np.int64]:
    """`positions` with moderate, severe and proliferative retinopathy as one label: with four test
    images of the proliferative grade, a mean over all grades is mostly chance."""
    worse = [labels.names.index(name) for name in RETINOPATHY_OR_WORSE]
    merged: NDArray[np.int64] = np.where(np.isin(positions, worse), worse[0], positions)
    return merged


def mcnemar(before: NDArray[np.bool_], after: NDArray[np.bool_]) -> float:
    """Exact two-sided p that two models are right equally often on the same images
    (McNemar 1947, doi:10.1007/BF02295996)."""
    from scipy.stats import binomtest

    gained, lost = int((~before & after).sum()), int((before & ~after).sum())
    return float(binomtest(gained, gained + lost).pvalue) if gained + lost else 1.0


def _balanced_interval(
    truth: NDArray[np.int64], found: NDArray[np.int64], resamples: int = 1000
) -> tuple[float, float]:
    """Of k right among n, a resample within the label has Binomial(n, k / n) right."""
    rng = np.random.default_rng(0)
    recalls = [
        rng.binomial(len(hits), hits.mean(), resamples) / len(hits)
        for hits in (found[truth == label] == label for label in np.unique(truth))
    ]
    low, high = np.percentile(np.mean(recalls, axis=0), [2.5, 97.5])
    return float(low), float(high)


def wilson(correct: int, total: int, z: float = 1.96) -> tuple[float, float]:
    """Wilson score interval of a share (Wilson 1927), 95 % by default."""
    share = correct / total
    centre = (share + z * z / (2 * total)) / (1 + z * z / total)
    half = z / (1 + z * z / total)
    half *= math.sqrt(share * (1 - share) / total + z * z / (4 * total * total))
    return max(0.0, centre - half), min(1.0, centre + half)
