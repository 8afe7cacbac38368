"""The figures of an evaluation: accuracy, balanced accuracy, precision, recall, F1, intervals."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from appliance.core.calibration import wilson
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
    """Bootstrap within each label, 95 %; the macro recall's too, which is the same figure."""
    precision: float
    precision_interval: tuple[float, float]
    """Bootstrap within each label, 95 %."""
    recall: float
    f1: float
    f1_interval: tuple[float, float]
    """Bootstrap within each label, 95 %."""
    images_by_label: dict[str, int]
    recall_by_label: dict[str, float]
    recall_interval_by_label: dict[str, tuple[float, float]]
    """Wilson, 95 %."""
    precision_by_label: dict[str, float]
    f1_by_label: dict[str, float]


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
        precision, recall, f1, images = precision_recall_fscore_support(
            y, z, labels=present, zero_division=0
        )
        correct = int((y == z).sum())
        intervals = _macro_intervals(y, z, present)
        here = [labels.names[p] for p in present]
        scores[domain] = Scores(
            images=len(y),
            accuracy=correct / len(y),
            accuracy_interval=wilson(correct, len(y)),
            balanced_accuracy=float(np.mean(recall)),
            balanced_accuracy_interval=intervals["recall"],
            precision=float(np.mean(precision)),
            precision_interval=intervals["precision"],
            recall=float(np.mean(recall)),
            f1=float(np.mean(f1)),
            f1_interval=intervals["f1"],
            images_by_label=dict(zip(here, images.tolist(), strict=True)),
            recall_by_label=dict(zip(here, recall.tolist(), strict=True)),
            recall_interval_by_label={
                name: wilson(round(r * n), int(n))
                for name, r, n in zip(here, recall, images, strict=True)
            },
            precision_by_label=dict(zip(here, precision.tolist(), strict=True)),
            f1_by_label=dict(zip(here, f1.tolist(), strict=True)),
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


def _macro_intervals(
    truth: NDArray[np.int64], found: NDArray[np.int64], present: list[int], resamples: int = 1000
) -> dict[str, tuple[float, float]]:
    """Of macro recall, precision and F1: each label's images are drawn again from themselves, so
    that what they are found as is multinomial."""
    rng = np.random.default_rng(0)
    drawn = []
    for label in present:
        hits = found[truth == label]
        counts = [int((hits == other).sum()) for other in present]
        shares = np.array([*counts, len(hits) - sum(counts)]) / len(hits)
        drawn.append(rng.multinomial(len(hits), shares, resamples)[:, :-1])
    confusion = np.stack(drawn, 1)  # (resamples, true label, found label)
    right = np.diagonal(confusion, axis1=1, axis2=2)
    images = np.array([(truth == label).sum() for label in present])
    named = confusion.sum(1)
    figures = {
        "recall": right / images,
        "precision": right / np.maximum(named, 1),
        "f1": 2 * right / (images + named),
    }
    limits = {name: np.percentile(f.mean(1), [2.5, 97.5]) for name, f in figures.items()}
    return {name: (float(low), float(high)) for name, (low, high) in limits.items()}
