"""How often the likeliest label is right, by how sure the model was of it."""

from collections.abc import Sequence
from dataclasses import dataclass

from appliance.core.decision import probabilities
from training.evaluation.answered import AnsweredImage
from training.metrics import wilson

BINS = 10


@dataclass(frozen=True)
class Bin:
    """Images whose likeliest label has a probability from `low` to `high`."""

    low: float
    high: float
    images: int
    confidence: float
    """Mean probability of the likeliest label."""
    accuracy: float
    accuracy_interval: tuple[float, float]
    """Wilson, 95 %."""


def confidence(image: AnsweredImage, temperature: float) -> float:
    """The probability of the likeliest label."""
    return max(probabilities(image.label_scores, temperature))


def reliability(images: Sequence[AnsweredImage], temperature: float) -> list[Bin]:
    """Ten bins of equal width, those without images left out."""
    members: list[list[tuple[float, bool]]] = [[] for _ in range(BINS)]
    for image in images:
        sure = confidence(image, temperature)
        members[min(int(sure * BINS), BINS - 1)].append((sure, image.is_right))
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
