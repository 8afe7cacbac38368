"""The invisible mark of pictures that a model drew: none of them is of a patient.

Spread over many cosines of the whole picture, as Cox et al. 1997 do (doi:10.1109/83.650120), but
read without the unmarked picture: the mark is the sign of each cosine. It survives JPEG, another
size and other proportions, not cropping or turning. Its key is public: it keeps honest pictures
apart, and is nothing against whoever takes it out.
"""

import hashlib
from functools import cache
from typing import TYPE_CHECKING

from appliance.core.gate import Refusal

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

KEY = b"synthetic picture, drawn by a model"
LEAST_WAVES, MOST_WAVES = 6, 22
"""Half waves across the picture: fewer would be seen, more would not survive a small size."""
LEAST_SHARE = 0.68
"""Of the signs, that must agree for a picture to be marked. In any other about half of them do."""
READ_SIDE = 64
"""A larger picture is first reduced to about so many pixels a side."""
DRAWN = Refusal(
    "image-synthetic",
    "it carries the mark of a picture that a model drew",
    "choose a picture that was taken of the patient",
)


@cache
def signs() -> dict[tuple[int, int], int]:
    """The sign of each cosine, by its half waves across and down."""
    waves = range(1, MOST_WAVES + 1)
    places = [
        (across, down)
        for across in waves
        for down in waves
        if LEAST_WAVES**2 <= across**2 + down**2 <= MOST_WAVES**2
    ]
    bits = hashlib.shake_256(KEY).digest(len(places))
    return {place: 1 if bit & 1 else -1 for place, bit in zip(places, bits, strict=True)}


def drawn(rgb: bytes, size: int) -> Refusal | None:
    """Why a picture, size x size x 3 bytes, is not read, if it bears the mark."""
    return DRAWN if agreement(rgb, size) >= LEAST_SHARE else None


def agreement(rgb: bytes, size: int) -> float:
    """Share of the cosines that have the mark's sign, by the green channel."""
    import numpy as np  # not before the first picture

    block = max(1, size // READ_SIDE)
    side = size // block
    # What is left over at the right and below is left out.
    green = np.frombuffer(rgb, np.uint8)[1::3].reshape(size, size)[: side * block, : side * block]
    reduced = green.reshape(side, block, side, block).sum((1, 3), dtype=np.int64)
    cosines = _cosines(size, block)
    found = cosines @ reduced @ cosines.T
    return np.count_nonzero(found * _wanted() > 0) / len(signs())


@cache
def _wanted() -> "NDArray[np.int8]":
    """The signs by half waves down, then across; 0 where the mark has none."""
    import numpy as np

    wanted = np.zeros((MOST_WAVES, MOST_WAVES), np.int8)
    for (across, down), sign in signs().items():
        wanted[down - 1, across - 1] = sign
    return wanted


@cache
def _cosines(size: int, block: int) -> "NDArray[np.float64]":
    """Of 1 to MOST_WAVES half waves over the whole picture, at the middle of each square of
    `block`: (waves, squares)."""
    import numpy as np

    middles = block * (np.arange(size // block) + 0.5) / size
    return np.cos(np.pi * np.outer(np.arange(1, MOST_WAVES + 1), middles))
