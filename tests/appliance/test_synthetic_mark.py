"""The mark of pictures that a model drew, as the clinic reads it."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from stand_ins import CAPTION, CARD, MemoryLog, OneImage, OneReading, ports

from appliance.core.caption import caption_json
from appliance.core.consult import consult
from appliance.core.synthetic_mark import (
    LEAST_SHARE,
    LEAST_WAVES,
    MOST_WAVES,
    agreement,
    drawn,
    signs,
)


def written(side: int, strength: float, seed: int = 0) -> NDArray[np.uint8]:
    """A noisy picture with the mark's cosines added, each so many grey levels high."""
    grey = np.random.default_rng(seed).normal(120, 20, (side, side))
    middles = np.pi * (np.arange(side) + 0.5) / side
    for (across, down), sign in signs().items():
        grey += strength * sign * np.outer(np.cos(down * middles), np.cos(across * middles))
    return np.repeat(grey.clip(0, 255).astype(np.uint8)[..., None], 3, axis=2)


@pytest.mark.parametrize("size", [64, 100, 128, 224, 896])
def test_a_mark_is_read_at_every_size_that_a_model_takes(size: int) -> None:
    picture = Image.fromarray(written(256, 1.0))
    assert drawn(picture.resize((size, size), Image.Resampling.BILINEAR).tobytes(), size)


def test_proportions_do_not_matter() -> None:
    wide = Image.fromarray(written(256, 1.0)).resize((300, 200))
    assert drawn(wide.resize((128, 128)).tobytes(), 128)


def test_without_the_mark_about_half_of_the_signs_agree() -> None:
    found = [agreement(written(96, 0.0, seed).tobytes(), 96) for seed in range(40)]
    assert abs(np.mean(found) - 0.5) < 0.02
    assert max(found) < LEAST_SHARE


def test_the_negative_of_a_marked_picture_has_all_signs_wrong() -> None:
    assert agreement((255 - written(128, 2.0)).tobytes(), 128) < 0.1


def test_a_picture_of_one_colour_is_not_marked() -> None:
    assert not drawn(bytes([90, 40, 40]) * 128 * 128, 128)


def test_a_marked_picture_is_refused_and_the_refusal_recorded() -> None:
    class Larger(OneReading):
        release = replace(CARD, image_size=64)

    audit, images = MemoryLog(), OneImage(rgb=written(64, 1.0).tobytes())
    captioner = Larger(caption_json(CAPTION))
    result = consult("x.png", ports(images=images, captioner=captioner, audit=audit), k=2)
    assert result.error is not None and result.error.code == "image-synthetic"
    assert result.caption is None
    assert audit.entries[-1].body["error"] == "image-synthetic"


def test_the_signs_never_change() -> None:
    """They are in every picture that was ever drawn."""
    assert len(signs()) == 335
    assert all(LEAST_WAVES <= np.hypot(across, down) <= MOST_WAVES for across, down in signs())
    first = [sign for _, sign in sorted(signs().items())[:12]]
    assert first == [1, -1, 1, -1, -1, -1, 1, -1, -1, 1, 1, -1]
