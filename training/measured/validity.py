"""Do the measures mean something? Their separation of labels, and their stability.

    python -m training measured validity --data DIR

Area under the ROC curve of each measure for the labels it ought to part, on training images, and
what is left of each level when the picture is turned, zoomed and coloured as in training.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from appliance.core.labels import DOMAINS, Domain
from training.datasets import Example
from training.measured.finding import Cuts, Measure
from training.measured.frame import SIDE
from training.measured.measurement import INSTRUMENTS
from training.measured.sample import columns, squares, train_examples
from training.measured.thresholds import read_thresholds

Values = dict[str, NDArray[np.float64]]


@dataclass(frozen=True)
class Contrast:
    """Two groups of labels that a measure may part."""

    name: str
    cases: tuple[str, ...]
    controls: tuple[str, ...]


NEVUS = ("melanocytic nevus",)
NORMAL_FUNDUS = ("normal fundus",)
CONTRASTS: dict[Domain, tuple[Contrast, ...]] = {
    "skin": (
        Contrast("melanoma", ("melanoma",), NEVUS),
        Contrast("keratosis", ("benign keratosis",), NEVUS),
        Contrast("basal", ("basal cell carcinoma",), NEVUS),
        Contrast("actinic", ("actinic keratosis",), NEVUS),
        Contrast("vascular", ("vascular lesion",), NEVUS),
    ),
    "fundus": (
        Contrast("cataract", ("cataract",), NORMAL_FUNDUS),
        Contrast(
            "moderate+",
            tuple(
                f"{grade} diabetic retinopathy" for grade in ("moderate", "severe", "proliferative")
            ),
            NORMAL_FUNDUS,
        ),
        Contrast("severe", ("severe diabetic retinopathy",), NORMAL_FUNDUS),
        Contrast("macular", ("age-related macular degeneration",), NORMAL_FUNDUS),
        Contrast("myopia", ("pathological myopia",), NORMAL_FUNDUS),
        Contrast("glaucoma", ("glaucoma",), NORMAL_FUNDUS),
    ),
    "chest": (
        Contrast("pneumonia", ("bacterial pneumonia", "viral pneumonia"), ("normal chest",)),
        Contrast("bacterial", ("bacterial pneumonia",), ("normal chest",)),
        Contrast("viral", ("viral pneumonia",), ("normal chest",)),
        Contrast("vir-bact", ("viral pneumonia",), ("bacterial pneumonia",)),
    ),
}


def area_under_curve(cases: NDArray[np.float64], controls: NDArray[np.float64]) -> float:
    """The chance that a case measures more than a control (Mann and Whitney 1947)."""
    from scipy.stats import rankdata

    ranks = rankdata(np.concatenate([cases, controls]))[: len(cases)]
    return float((ranks.mean() - (len(cases) + 1) / 2) / len(controls))


def steadiness(cuts: Cuts, before: Sequence[float], after: Sequence[float]) -> tuple[float, float]:
    """Of the low and high levels `before`: the share that `after` keeps, and that it confirms."""
    clear = [
        (cuts.level(old), new)
        for old, new in zip(before, after, strict=True)
        if cuts.level(old) != "middle"
    ]
    kept = np.mean([cuts.level(new) == level for level, new in clear])
    borne_out = np.mean([cuts.agrees(level, new) for level, new in clear])
    return float(kept), float(borne_out)


def measure_examples(data: Path, examples: Sequence[Example]) -> tuple[Values, Values, float]:
    """Values before and after augmentation, and the milliseconds of one core for an image."""
    from training.pixels import augment

    measure = INSTRUMENTS[examples[0].domain].measure
    plain, turned, spent_s = [], [], 0.0
    for place, pixels in enumerate(squares(data, examples)):
        started = time.process_time()
        plain.append(measure(pixels))
        spent_s += time.process_time() - started
        upright = np.array([examples[0].domain == "chest"])
        rng = np.random.default_rng(place)
        tensor = augment(np.array([pixels]), upright, SIDE, rng, gentle=True)[0]
        bytes_again = ((tensor + 1) * 127.5).round().byte().permute(1, 2, 0).numpy()
        turned.append(measure(bytes_again))
    return columns(plain), columns(turned), 1000 * spent_s / len(examples)


def table_row(
    domain: Domain, measure: Measure, labels: NDArray[np.str_], plain: Values, turned: Values
) -> str:
    from scipy.stats import spearmanr

    before, after = plain[measure.name], turned[measure.name]
    areas = [
        area_under_curve(
            before[np.isin(labels, contrast.cases)], before[np.isin(labels, contrast.controls)]
        )
        for contrast in CONTRASTS[domain]
    ]
    cuts = read_thresholds()[domain][measure.name]
    kept, borne_out = steadiness(cuts, before.tolist(), after.tolist())
    order = float(spearmanr(before, after).statistic)
    figures = [*areas, order, kept, borne_out]
    return f"{measure.name:<16}" + "".join(f"{figure:>10.2f}" for figure in figures)


def table(data: Path, per_label: int) -> Iterator[str]:
    """Each measure's separation of labels and its stability under augmentation, line by line."""
    picked = train_examples(data, per_label)
    for domain in DOMAINS:
        examples = [example for example in picked if example.domain == domain]
        plain, turned, milliseconds = measure_examples(data, examples)
        labels = np.array([example.label for example in examples])
        yield f"\n{domain}: {len(examples)} images, {milliseconds:.1f} ms an image"
        heads = [*(contrast.name for contrast in CONTRASTS[domain]), "order", "kept", "confirmed"]
        yield f"{'measure':<16}" + "".join(f"{head:>10}" for head in heads)
        for measure in INSTRUMENTS[domain].measures:
            yield table_row(domain, measure, labels, plain, turned)
