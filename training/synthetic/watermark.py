"""Marks a drawn picture twice: a band with a word, and signs that `appliance.core` reads."""

from math import pi

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from appliance.core.synthetic_mark import MOST_WAVES, READ_SIDE, agreement, signs

WORD = "SYNTHETIC"
BAND_SHARE = 0.11
"""Of the picture's height."""
LEAST_WRITTEN = 256
"""A smaller picture is enlarged to so many pixels a side, so that the word can be read."""
MARGIN = 5.0
"""How far from nought a cosine is brought, in grey levels of an orthonormal transform of READ_SIDE:
JPEG at quality 50 moves one by about 1."""
SPARED = 0.12
"""Share of the cosines, those that it would cost most, that are left as they are."""
ROUNDS = 4
"""What clipping and rounding take away is put back so often."""


def marked(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(side, side, 3) at least LEAST_WRITTEN a side, with both marks.

    Raises: ValueError for a picture that cannot hold the mark.
    """
    image = Image.fromarray(pixels)
    if image.width < LEAST_WRITTEN:
        image = image.resize((LEAST_WRITTEN, LEAST_WRITTEN), Image.Resampling.BICUBIC)
    return with_signs(np.asarray(with_band(image)))


def with_band(image: Image.Image) -> Image.Image:
    """The lowest part of the picture under a band that says what it is."""
    image = image.copy()
    drawing = ImageDraw.Draw(image)
    top = image.height - round(BAND_SHARE * image.height)
    drawing.rectangle((0, top, image.width, image.height), fill=(20, 20, 20))
    font = ImageFont.load_default(0.8 * (image.height - top))
    middle = (image.width / 2, (top + image.height) / 2)
    drawing.text(middle, WORD, font=font, fill=(245, 245, 245), anchor="mm")
    return image


def with_signs(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The invisible mark, no stronger than it must be to be read.

    Raises: ValueError for a picture that cannot hold it, as one that is all black.
    """
    side = len(pixels)
    waves = np.arange(1, MOST_WAVES + 1)[:, None]
    cosines = np.cos(pi * waves * (np.arange(side) + 0.5) / side)
    places = np.array(list(signs())) - 1
    wanted = np.array(list(signs().values()))
    scale = READ_SIDE / 2 * (2 / side) ** 2
    found = pixels.astype(np.float64)
    for _ in range(ROUNDS):
        seen = np.clip(np.rint(found), 0, 255)
        transformed = scale * (cosines @ seen[..., 1] @ cosines.T)
        short = MARGIN - wanted * transformed[places[:, 1], places[:, 0]]
        short = np.where(short > np.quantile(short, 1 - SPARED), 0, short.clip(min=0))
        change = np.zeros((MOST_WAVES, MOST_WAVES))
        change[places[:, 1], places[:, 0]] = wanted * short
        found = seen + (2 / READ_SIDE * (cosines.T @ change @ cosines))[..., None]
    result = np.clip(np.rint(found), 0, 255).astype(np.uint8)
    if agreement(result.tobytes(), side) < 1 - 2 * SPARED:
        raise ValueError("the picture cannot hold the invisible mark: too much is black or white")
    return result
