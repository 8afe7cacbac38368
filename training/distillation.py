"""What the tower learns from its teacher besides labels: its doubts, and where it sees what.

The doubts are its probabilities on the very same augmented picture (Beyer et al. 2022,
arXiv:2106.05237: a consistent and patient teacher). What it sees are its feature maps (hints,
Romero et al. 2015, arXiv:1412.6550): at 1/16 of the side one place is one patch of the tower, at
1/32 one place is one soft token of the captioner, four patches pooled.
"""

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import nn

from training.efficientnet import LAST_CHANNELS, MIDDLE_CHANNELS, EfficientNetLite0
from training.recipe import Geometry

if TYPE_CHECKING:
    from torch import Tensor

PATCH = 16
"""Side in pixels of what one place of the teacher's middle map stands for."""


class Hints(nn.Module):
    """Two layers that translate the tower's features into the teacher's; gone once it is taught."""

    def __init__(self, geometry: Geometry) -> None:
        super().__init__()
        if geometry.patch_size != PATCH:
            raise ValueError(f"patch_size {geometry.patch_size}: the teacher's places are {PATCH}")
        self.middle = nn.Linear(geometry.vision_width, MIDDLE_CHANNELS)
        self.last = nn.Linear(geometry.vision_width, LAST_CHANNELS)

    def forward(
        self, middle: "Tensor", last: "Tensor", wanted_middle: "Tensor", wanted_last: "Tensor"
    ) -> "Tensor":
        """How far the tower's tokens, (batch, patches, width), on the way and at its end, are from
        the teacher's maps, (batch, channels, y, x), of the same pictures."""
        side = wanted_middle.shape[-1]
        pooled = F.avg_pool2d(last.mT.unflatten(2, (side, side)), 2).flatten(2).mT
        far = _distance(self.middle(middle), wanted_middle)
        return far + _distance(self.last(pooled), wanted_last)


def ask(teacher: EfficientNetLite0, images: "Tensor") -> tuple["Tensor", "Tensor", "Tensor"]:
    """The teacher's scores (batch, labels), middle and last maps (batch, channels, y, x)."""
    with torch.no_grad():
        middle, last = teacher.maps(images)
        return teacher.classify(last), middle, last


def _distance(found: "Tensor", wanted: "Tensor") -> "Tensor":
    """Mean of one less the cosine at every place; the teacher's channels are standardized first, so
    that no loud channel outweighs the others."""
    places = wanted.float().flatten(2).mT
    deviation, mean = torch.std_mean(places, (0, 1))
    standard = (places - mean) / (deviation + 1e-3)
    return 1 - F.cosine_similarity(found.float(), standard, dim=-1).mean()
