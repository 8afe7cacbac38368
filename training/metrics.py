"""The figures of an evaluation: accuracy, balanced accuracy, precision, recall, F1, intervals.

Images of one group (a patient, a lesion) are alike; only groups count as independent.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from appliance.core.calibration import share_interval
from appliance.core.labels import DOMAINS, Domain, LabelSet


@dataclass(frozen=True)
class Scores:
    """One domain's figures; precision, recall and F1 are macro means over its labels."""

    images: int
    accuracy: float
    accuracy_interval: tuple[float, float]
    """95 %, as share_interval."""
    balanced_accuracy: float
    balanced_accuracy_interval: tuple[float, float]
    """Bootstrap of groups, 95 %; the macro recall's too, which is the same figure."""
    precision: float
    precision_interval: tuple[float, float]
    """Bootstrap of groups, 95 %."""
    recall: float
    f1: float
    f1_interval: tuple[float, float]
    """Bootstrap of groups, 95 %."""
    images_by_label: dict[str, int]
    recall_by_label: dict[str, float]
    recall_interval_by_label: dict[str, tuple[float, float]]
    """95 %, as share_interval."""
    precision_by_label: dict[str, float]
    f1_by_label: dict[str, float]


def domain_scores(
    labels: LabelSet,
    truth: NDArray[np.int64],
    found: NDArray[np.int64],
    groups: NDArray[np.str_],
) -> dict[Domain, Scores]:
    """Figures by the domain of the truth; a label found in another domain is simply wrong.

    `truth` and `found` are positions in `labels`; -1 in `found` is an unreadable answer. `groups`
    names each image's patient or lesion.
    """
    from sklearn.metrics import precision_recall_fscore_support  # slow to import

    scores: dict[Domain, Scores] = {}
    for domain in DOMAINS:
        names = labels.in_domain(domain)
        positions = [labels.names.index(name) for name in names]
        inside = np.isin(truth, positions)
        if not inside.any():
            continue
        y, z, alike = truth[inside], found[inside], groups[inside]
        present = [p for p in positions if (y == p).any()]
        precision, recall, f1, images = precision_recall_fscore_support(
            y, z, labels=present, zero_division=0
        )
        right = y == z
        intervals = _macro_intervals(y, z, alike, present)
        here = [labels.names[p] for p in present]
        scores[domain] = Scores(
            images=len(y),
            accuracy=float(right.mean()),
            accuracy_interval=_share_interval(right, alike),
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
                name: _share_interval(right[y == p], alike[y == p])
                for name, p in zip(here, present, strict=True)
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


def mcnemar(before: NDArray[np.bool_], after: NDArray[np.bool_], groups: NDArray[np.str_]) -> float:
    """Two-sided p that two models are right equally often on the same images: McNemar's test for
    matched pairs that come in groups (Obuchowski 1998, Stat Med 17:1495; as Yang et al. 2010,
    doi:10.1002/bimj.201000035, write it)."""
    from scipy.stats import chi2

    names, group_of = np.unique(groups, return_inverse=True)
    change = np.bincount(group_of, after.astype(float) - before)
    if not change.any():
        return 1.0
    shrunk = (len(names) - 1) / len(names)
    return float(chi2.sf(shrunk * change.sum() ** 2 / (change**2).sum(), 1))


def _share_interval(right: NDArray[np.bool_], groups: NDArray[np.str_]) -> tuple[float, float]:
    return share_interval(right.tolist(), groups.tolist())


def _macro_intervals(
    truth: NDArray[np.int64],
    found: NDArray[np.int64],
    groups: NDArray[np.str_],
    present: list[int],
    resamples: int = 1000,
) -> dict[str, tuple[float, float]]:
    """Of macro recall, precision and F1: each label's groups are drawn again from themselves, so
    that no label goes missing. Of a group with images of two labels, each label has those of its
    own, drawn apart."""
    rng = np.random.default_rng(0)
    drawn = []
    for label in present:
        inside = truth == label
        names, group_of = np.unique(groups[inside], return_inverse=True)
        table = np.zeros((len(names), len(present) + 1), np.int64)  # last: found as none of them
        column = np.array([present.index(p) if p in present else -1 for p in found[inside]])
        np.add.at(table, (group_of, column), 1)
        times = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), resamples)
        drawn.append(times @ table)
    confusion = np.stack(drawn, 1)  # (resamples, true label, found label)
    right = np.diagonal(confusion, axis1=1, axis2=2)
    images, named = confusion.sum(2), confusion.sum(1)[:, :-1]
    figures = {
        "recall": right / images,
        "precision": right / np.maximum(named, 1),
        "f1": 2 * right / (images + named),
    }
    limits = {name: np.percentile(f.mean(1), [2.5, 97.5]) for name, f in figures.items()}
    return {name: (float(low), float(high)) for name, (low, high) in limits.items()}
