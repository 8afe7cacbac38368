"""Claims about the tower's teacher and what it hands on."""

import pytest
import torch
import torch.nn.functional as F

from tests.training.tiny import RECIPE
from training.distillation import Hints, ask
from training.efficientnet import (
    LAST_CHANNELS,
    MIDDLE_CHANNELS,
    EfficientNetLite0,
    SameConvolution,
    imagenet_lite0,
)
from training.recipe import Geometry


@pytest.fixture(scope="module")
def imagenet() -> EfficientNetLite0:
    torch.manual_seed(0)
    return imagenet_lite0(20).eval()


@pytest.mark.parametrize(("side", "kernel", "before", "after"), [(8, 3, 0, 1), (7, 3, 1, 1)])
def test_padding_is_tensorflows(side: int, kernel: int, before: int, after: int) -> None:
    layer = SameConvolution(2, 3, kernel, stride=2)
    images = torch.randn(1, 2, side, side)
    padded = F.pad(images, (before, after, before, after))
    expected = F.conv2d(padded, layer.weight, stride=2)
    assert torch.allclose(layer(images), expected, atol=1e-6)


def test_the_imagenet_weights_fill_every_layer_and_keep_signals_alive(
    imagenet: EfficientNetLite0,
) -> None:
    with torch.no_grad():
        middle, last = imagenet.maps(torch.randn(2, 3, 64, 64).clamp(-1, 1))
    assert middle.shape == (2, MIDDLE_CHANNELS, 4, 4)
    assert last.shape == (2, LAST_CHANNELS, 2, 2)
    assert 0.05 < float((last > 0).float().mean()) < 0.95
    assert float(last.max()) <= 6


def test_frozen_blocks_keep_weights_and_statistics() -> None:
    model = imagenet_lite0(20)
    model.freeze(5)
    model.train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    model(torch.randn(4, 3, 32, 32)).square().sum().backward()
    optimizer.step()
    changed = {name for name, value in model.state_dict().items() if not value.equal(before[name])}
    frozen = ("_conv_stem", "_bn0.", *(f"_blocks.{index}." for index in range(5)))
    assert not any(name.startswith(frozen) for name in changed)
    assert "_blocks.5._project_conv.weight" in changed
    assert "_blocks.5._bn2.running_mean" in changed


def test_more_frozen_blocks_than_the_middle_map_allows_are_refused() -> None:
    with pytest.raises(ValueError, match="frozen_blocks 12"):
        EfficientNetLite0(3).freeze(12)


def test_unrelated_features_are_far_and_learning_brings_them_near() -> None:
    torch.manual_seed(1)
    geometry = RECIPE.geometry
    hints = Hints(geometry)
    wanted_middle, wanted_last = torch.randn(8, 112, 4, 4), torch.randn(8, LAST_CHANNELS, 2, 2)
    middle, last = torch.randn(2, 8, 16, geometry.vision_width)
    optimizer = torch.optim.Adam(hints.parameters(), 0.02)
    first = hints(middle, last, wanted_middle, wanted_last).item()
    for _ in range(150):
        loss = hints(middle, last, wanted_middle, wanted_last)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert first == pytest.approx(2, abs=0.2)  # two cosines of unrelated directions
    assert loss.item() < first - 0.5


def test_the_teacher_learns_nothing_from_being_asked(imagenet: EfficientNetLite0) -> None:
    images = torch.randn(2, 3, 64, 64, requires_grad=True)
    assert not any(answer.requires_grad for answer in ask(imagenet, images))


def test_places_must_match_patches() -> None:
    geometry = Geometry(112, 14, 16, 32, 1, 128, 1, 640)
    with pytest.raises(ValueError, match="patch_size 14"):
        Hints(geometry)
