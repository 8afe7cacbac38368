"""How often the likeliest label is right, by how sure the model was of it."""

from collections.abc import Sequence

from appliance.core.calibration import Bin, reliability_bins
from appliance.core.decision import probabilities
from training.evaluation.answered import AnsweredImage


def confidence(image: AnsweredImage, temperature: float) -> float:
    """The probability of the likeliest label."""
    return max(probabilities(image.label_scores, temperature))


def reliability(images: Sequence[AnsweredImage], temperature: float) -> list[Bin]:
    """Ten bins of equal width, those without images left out."""
    return reliability_bins(
        [confidence(image, temperature) for image in images],
        [image.is_right for image in images],
        [image.group for image in images],
    )
