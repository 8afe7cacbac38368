"""Claims about pixels: their scale, and that augmentation keeps a caption true."""

import io
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from tests.training.tiny import every_label, picture, write_datasets
from training.datasets import DatasetError, read_examples
from training.pixels import CACHE_SIZE, augment, decode_square, load_pixels, plain

DRAWS = 200
SIDE = 24


def bright(*, left: bool = False, top: bool = False) -> NDArray[np.uint8]:
    """DRAWS copies of a dark square with one bright half."""
    pixels = np.full((DRAWS, SIDE, SIDE, 3), 40, np.uint8)
    if left:
        pixels[:, :, : SIDE // 2] = 200
    if top:
        pixels[:, : SIDE // 2] = 200
    return pixels


def augmented(pixels: NDArray[np.uint8], *, chest: bool, size: int = 16) -> NDArray[np.float32]:
    upright = np.full(len(pixels), chest)
    found: NDArray[np.float32] = augment(pixels, upright, size, np.random.default_rng(0)).numpy()
    return found


def test_plain_pixels_run_from_minus_1_to_1() -> None:
    pixels = np.zeros((3, 8, 8, 3), np.uint8)
    pixels[1], pixels[2, ..., 0] = 255, 255
    found = plain(pixels, 4).numpy()
    assert found.shape == (3, 3, 4, 4)
    assert found[0] == pytest.approx(-1)
    assert found[1] == pytest.approx(1)
    assert found[2, 0] == pytest.approx(1)
    assert found[2, 1:] == pytest.approx(-1)


def test_plain_pixels_at_their_own_size_are_only_scaled() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3), dtype=np.uint8)
    expected = pixels.transpose(0, 3, 1, 2) / 127.5 - 1
    assert plain(pixels, 8).numpy() == pytest.approx(expected, abs=1e-6)


def test_augmented_pixels_have_the_models_size_and_range() -> None:
    found = augmented(bright(left=True), chest=False, size=20)
    assert found.shape == (DRAWS, 3, 20, 20)
    assert found.min() >= -1 and found.max() <= 1


def test_a_chest_picture_is_never_mirrored() -> None:
    found = augmented(bright(left=True), chest=True).mean(1)
    assert (found[:, :, :4].mean((1, 2)) > found[:, :, -4:].mean((1, 2))).all()


def test_a_chest_picture_is_never_flipped() -> None:
    found = augmented(bright(top=True), chest=True).mean(1)
    assert (found[:, :4].mean((1, 2)) > found[:, -4:].mean((1, 2))).all()


def test_skin_and_fundus_pictures_turn_and_mirror_every_way() -> None:
    sideways = augmented(bright(left=True), chest=False).mean(1)
    lead = sideways[:, :, :4].mean((1, 2)) - sideways[:, :, -4:].mean((1, 2))
    assert 0.3 < (lead > 0).mean() < 0.7
    assert (np.abs(lead) < 0.1).any()  # turned by about a quarter


def test_a_chest_picture_stays_grey_and_skin_is_tinted() -> None:
    pixels = bright(left=True)
    chest, skin = augmented(pixels, chest=True), augmented(pixels, chest=False)
    assert np.ptp(chest, axis=1).max() < 1e-5
    assert np.ptp(skin, axis=1).max() > 0.05


def test_each_picture_of_a_batch_is_treated_as_its_own_kind() -> None:
    upright = np.arange(DRAWS) % 2 == 0
    found = augment(bright(left=True), upright, 16, np.random.default_rng(0)).numpy().mean(1)
    lead = found[:, :, :4].mean((1, 2)) - found[:, :, -4:].mean((1, 2))
    assert (lead[upright] > 0).all()
    assert not (lead[~upright] > 0).all()


def test_augmentation_is_a_function_of_its_generator() -> None:
    pixels = bright(left=True)[:4]
    first, again = augmented(pixels, chest=False), augmented(pixels, chest=False)
    assert np.array_equal(first, again)


def test_a_picture_is_squashed_to_a_square() -> None:
    assert decode_square(picture(1, 0), 10).shape == (10, 10, 3)


def test_a_picture_is_turned_and_laid_on_black_as_at_the_clinic() -> None:
    lying = np.zeros((8, 16, 3), np.uint8)
    lying[:, :8] = 255  # white on its left, which its tag says is below
    file = io.BytesIO()
    exif = Image.Exif()
    exif[274] = 8  # EXIF 2.32, 4.6.4 A: row 0 is the left side, column 0 the bottom
    Image.fromarray(lying).save(file, "PNG", exif=exif)
    turned = decode_square(file.getvalue(), 8)
    assert turned[-2:].min() > 200
    assert turned[:2].max() < 50
    glass = np.zeros((8, 8, 4), np.uint8)
    glass[..., :3] = 255
    file = io.BytesIO()
    Image.fromarray(glass).save(file, "PNG")
    assert decode_square(file.getvalue(), 8).max() == 0


def test_cached_pixels_are_the_examples_own_in_order(data: Path, tmp_path: Path) -> None:
    examples, _ = read_examples(data)
    chosen = examples[::7]
    made = load_pixels(data, chosen, tmp_path / "run")
    assert made.shape == (len(chosen), CACHE_SIZE, CACHE_SIZE, 3)
    [cache] = (tmp_path / "run").iterdir()
    first = decode_square_of(data, chosen[-1].dataset, chosen[-1].row)
    assert np.array_equal(made[-1], first)
    written = cache.stat().st_mtime_ns
    assert np.array_equal(load_pixels(data, chosen, tmp_path / "run"), made)
    assert cache.stat().st_mtime_ns == written


def test_a_picture_that_is_none_is_named_and_nothing_is_kept(tmp_path: Path) -> None:
    rows = every_label()
    rows["odir5k"][3]["image"] = b"not a picture"
    (tmp_path / "data").mkdir()
    folder = write_datasets(tmp_path / "data", rows)
    with pytest.raises(DatasetError, match="odir5k, row 3: the image cannot be read"):
        load_pixels(folder, read_examples(folder)[0], tmp_path / "run")
    assert list((tmp_path / "run").iterdir()) == []


def test_other_examples_get_a_cache_of_their_own(data: Path, tmp_path: Path) -> None:
    examples, _ = read_examples(data)
    one = load_pixels(data, examples[:3], tmp_path)
    other = load_pixels(data, examples[3:6], tmp_path)
    assert not np.array_equal(one, other)


def decode_square_of(data: Path, dataset: str, row: int) -> NDArray[np.uint8]:
    from training.datasets import encoded_images

    return decode_square(encoded_images(data, dataset)[row], CACHE_SIZE)
