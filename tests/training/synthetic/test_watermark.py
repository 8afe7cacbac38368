"""Both marks of a drawn picture, and what they survive."""

import io

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from appliance.core.synthetic_mark import drawn
from training.synthetic.watermark import BAND_SHARE, LEAST_WRITTEN, marked, with_band, with_signs

MODEL_SIDE = 128


def blots(seed: int, side: int = 48) -> NDArray[np.uint8]:
    """A picture with a dark spot on an uneven ground, as a small drawing model's."""
    rng = np.random.default_rng(seed)
    ground = Image.fromarray(rng.integers(90, 230, (6, 6, 3), dtype=np.uint8))
    picture = np.asarray(ground.resize((side, side), Image.Resampling.BICUBIC)).astype(float)
    across, down = np.meshgrid(np.arange(side), np.arange(side))
    spot = np.hypot(across - side / 2, down - side / 2) < side / 4
    picture[spot] *= 0.4
    return (picture + rng.normal(0, 4, picture.shape)).clip(0, 255).astype(np.uint8)


def seen(image: Image.Image) -> bool:
    """Whether the clinic reads the mark."""
    square = image.convert("RGB").resize((MODEL_SIDE, MODEL_SIDE), Image.Resampling.BILINEAR)
    return drawn(square.tobytes(), MODEL_SIDE) is not None


def as_jpeg(image: Image.Image, quality: int) -> Image.Image:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return Image.open(file)


def test_a_marked_picture_is_found_and_the_same_unmarked_is_not() -> None:
    for seed in range(10):
        assert seen(Image.fromarray(marked(blots(seed))))
        assert not seen(Image.fromarray(blots(seed)))


@pytest.mark.parametrize("quality", [90, 50, 30])
def test_the_mark_survives_jpeg(quality: int) -> None:
    pictures = [Image.fromarray(marked(blots(seed))) for seed in range(10)]
    assert all(seen(as_jpeg(picture, quality)) for picture in pictures)


@pytest.mark.parametrize("size", [(512, 512), (300, 200), (128, 128), (64, 64), (48, 48)])
def test_the_mark_survives_another_size_and_other_proportions(size: tuple[int, int]) -> None:
    pictures = [Image.fromarray(marked(blots(seed))) for seed in range(10)]
    assert all(seen(picture.resize(size)) for picture in pictures)


def test_the_mark_survives_grey_levels_alone() -> None:
    assert seen(Image.fromarray(marked(blots(0))).convert("L"))


def test_the_invisible_mark_changes_little() -> None:
    enlarged = Image.fromarray(blots(0)).resize((256, 256), Image.Resampling.BICUBIC)
    with_word = np.asarray(with_band(enlarged))
    change = with_signs(with_word).astype(int) - with_word
    assert np.sqrt((change**2).mean()) < 6


def test_the_band_says_what_it_is_and_a_small_picture_is_enlarged_for_it() -> None:
    picture = marked(blots(0))
    assert picture.shape == (LEAST_WRITTEN, LEAST_WRITTEN, 3)
    band = picture[-round(BAND_SHARE * LEAST_WRITTEN) + 2 :]
    assert (band > 200).mean() > 0.05 and (band < 60).mean() > 0.5


def test_a_larger_picture_keeps_its_size() -> None:
    assert marked(blots(0, side=320)).shape == (320, 320, 3)


def test_a_picture_that_cannot_hold_the_mark_is_not_let_through() -> None:
    rng = np.random.default_rng(0)
    black_and_white = rng.integers(0, 2, (256, 256, 1)).repeat(3, 2).astype(np.uint8) * 255
    strong = np.kron(black_and_white[::16, ::16], np.ones((16, 16, 1), np.uint8))
    with pytest.raises(ValueError, match="cannot hold"):
        with_signs(strong)
