"""Text burned into a picture is found, counted and painted over, and never read out."""

import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from appliance.edges.images import ImageFiles
from appliance.errors import ConfigError

pytest.importorskip("rapidocr_onnxruntime", reason="the extra `ocr` is not installed")

SIZE = 320
WORDS = ("JANE DOE 07/11/1977", "KLINIK KESIHATAN", "78 bpm")


def ground() -> Image.Image:
    """A smooth picture, light to dark, without text."""
    shades = np.linspace(40, 200, 640).astype(np.uint8)[None].repeat(480, 0)
    return Image.fromarray(np.stack([shades, shades // 2, shades // 3], -1))


def labelled(height_px: int = 22) -> Image.Image:
    image = ground()
    draw = ImageDraw.Draw(image)
    font = ImageFont.load_default(height_px)
    for row, words in enumerate(WORDS):
        draw.text((30, 40 + 150 * row), words, "white", font)
    return image


@pytest.mark.parametrize("height_px", [14, 22, 40])
def test_drawn_words_are_found_and_counted(tmp_path: Path, height_px: int) -> None:
    labelled(height_px).save(tmp_path / "x.png")
    picture = ImageFiles("report").open(str(tmp_path / "x.png"), SIZE)
    assert picture.text_regions is not None and len(WORDS) <= picture.text_regions <= 8
    assert picture.note == f"{picture.text_regions} pieces of text found in the picture"
    plain = ImageFiles().open(str(tmp_path / "x.png"), SIZE)
    assert picture.rgb == plain.rgb and plain.text_regions is None and plain.note is None


def test_masked_words_are_gone_and_the_rest_is_as_it_was(tmp_path: Path) -> None:
    labelled().save(tmp_path / "x.png")
    ground().save(tmp_path / "y.png")
    masked = ImageFiles("mask").open(str(tmp_path / "x.png"), SIZE)
    assert masked.note is not None and masked.note.endswith("pieces of text painted over")
    found, without = (
        np.frombuffer(rgb, np.uint8).reshape(SIZE, SIZE, 3).astype(int)
        for rgb in (masked.rgb, ImageFiles().open(str(tmp_path / "y.png"), SIZE).rgb)
    )
    assert abs(found - without).max() <= 40, "a word still stands out of its ground"
    assert (found == without).all(axis=-1).mean() > 0.75
    masked_image = Image.fromarray(found.astype(np.uint8)).resize((640, 480))
    masked_image.save(tmp_path / "z.png")
    assert ImageFiles("report").open(str(tmp_path / "z.png"), SIZE).text_regions == 0


def test_a_picture_without_text_is_left_as_it_is(tmp_path: Path) -> None:
    ground().save(tmp_path / "x.png")
    masked = ImageFiles("mask").open(str(tmp_path / "x.png"), SIZE)
    assert (masked.text_regions, masked.note) == (0, "no text was found in the picture")
    assert masked.rgb == ImageFiles().open(str(tmp_path / "x.png"), SIZE).rgb


@pytest.mark.parametrize("size", [(1, 1), (3000, 2), (5, 900)])
def test_a_picture_of_any_shape_is_searched(tmp_path: Path, size: tuple[int, int]) -> None:
    Image.effect_noise(size, 80).save(tmp_path / "x.png")
    picture = ImageFiles("mask").open(str(tmp_path / "x.png"), 8)
    assert picture.text_regions is not None


@pytest.mark.data
def test_the_names_on_an_ultrasound_are_found_and_painted_over(shared: Path) -> None:
    path = shared / "samples/dicom/US1_UNCI.dcm"
    found = ImageFiles("report").open(str(path), SIZE)
    assert found.text_regions is not None and 15 <= found.text_regions <= 24
    masked = np.frombuffer(ImageFiles("mask").open(str(path), SIZE).rgb, np.uint8)
    corner = masked.reshape(SIZE, SIZE, 3)[14:68, 8:90]  # clinic, patient and numbers
    assert corner.max() < 60


def test_without_the_package_asking_is_an_error_that_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "path", [])
    monkeypatch.delitem(sys.modules, "rapidocr_onnxruntime")
    with pytest.raises(ConfigError, match="not installed") as caught:
        ImageFiles("mask")
    assert "ocr" in caught.value.hint
    ImageFiles()
