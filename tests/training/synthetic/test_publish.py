"""A drawn picture on disk says four times that it is synthetic, and who drew it."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngImageFile

from appliance.core.synthetic_mark import drawn
from training.synthetic.drawing import Wanted
from training.synthetic.publish import Origin, publish

ORIGIN = Origin("tiny", "ab" * 32, None, 48, 3, 2.0)
WANTED = [Wanted("Bowen's disease", "scaly, café au lait", 7), Wanted(None, "dark lungs", 8)]


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    pixels = np.random.default_rng(0).integers(60, 200, (2, 48, 48, 3), dtype=np.uint8)
    return publish(pixels, WANTED, ORIGIN, tmp_path / "out")


def test_names_say_synthetic(files: list[Path]) -> None:
    names = [file.name for file in files]
    assert names == ["synthetic-bowen-s-disease-000007.png", "synthetic-from-caption-000008.png"]


def test_pixels_and_text_chunks_say_synthetic(files: list[Path]) -> None:
    for file, one in zip(files, WANTED, strict=True):
        with Image.open(file) as image:
            assert isinstance(image, PngImageFile)
            assert "SYNTHETIC" in image.text["Title"] and "no patient" in image.text["Warning"]
            assert image.text["Description"] == one.caption
            square = image.resize((128, 128))
        assert drawn(square.tobytes(), 128) is not None


def test_a_card_beside_it_says_what_drew_it_from_what(files: list[Path]) -> None:
    card = json.loads(files[0].with_suffix(".json").read_text())
    assert card["synthetic"] is True
    assert (card["label"], card["caption"], card["seed"]) == (
        "Bowen's disease",
        "scaly, café au lait",
        7,
    )
    assert card["drawn_by"]["model_sha256"] == "ab" * 32
    assert card["sha256"] == hashlib.sha256(files[0].read_bytes()).hexdigest()
    assert "CC BY-NC" in card["trained_on"]["ham10000"]


def test_nothing_is_written_over(files: list[Path]) -> None:
    before = files[1].read_bytes()
    new = Wanted("melanoma", None, 1)
    pixels = np.full((2, 48, 48, 3), 128, np.uint8)
    with pytest.raises(FileExistsError, match="000008"):
        publish(pixels, [new, WANTED[1]], ORIGIN, files[0].parent)
    assert files[1].read_bytes() == before
    assert len(list(files[0].parent.iterdir())) == 4
