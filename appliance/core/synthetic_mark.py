"""The invisible mark of pictures that a model drew: none of them is of a patient.

Spread over many cosines of the whole picture, as Cox et al. 1997 do (doi:10.1109/83.650120), but
read without the unmarked picture: the mark is the sign of each cosine. It survives JPEG, another
size and other proportions, not cropping or turning. Its key is public: it keeps honest pictures
apart, and is nothing against whoever takes it out.
"""

import hashlib
import math
from functools import cache
from operator import add, mul

from appliance.core.gate import Refusal

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
    block = max(1, size // READ_SIDE)
    columns = list(zip(*_reduced(rgb[1::3], size, block), strict=True))
    cosines = _cosines(size, block)
    down = [[sum(map(mul, cosine, column)) for column in columns] for cosine in cosines]
    agreeing = 0
    for (across, downward), sign in signs().items():
        agreeing += sign * sum(map(mul, cosines[across - 1], down[downward - 1])) > 0
    return agreeing / len(signs())


def _reduced(grey: bytes, size: int, block: int) -> list[list[int]]:
    """Sums over squares of `block`; what is left over at the right and below is left out."""
    side = size // block
    rows = []
    for top in range(0, side * block, block):
        line = [0] * side
        for start in range(top * size, (top + block) * size, size):
            for left in range(block):
                line = list(map(add, line, grey[start + left : start + side * block : block]))
        rows.append(line)
    return rows


@cache
def _cosines(size: int, block: int) -> list[list[float]]:
    """Of 1 to MOST_WAVES half waves over the whole picture, at the middle of each square."""
    middles = [(block * (place + 0.5)) / size for place in range(size // block)]
    return [
        [math.cos(math.pi * waves * middle) for middle in middles]
        for waves in range(1, MOST_WAVES + 1)
    ]
