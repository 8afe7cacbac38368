"""Pictures drawn here, to try a model that nobody has measured on this machine.

Each has the gross look of one kind of picture and shows no disease. They tell whether a model
sees; what it is worth only real pictures tell.
"""

import struct
import zlib
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from appliance.core.labels import DOMAINS, Domain
from appliance.core.ports import Picture

PER_KIND = 2
Plane = NDArray[np.float64]


def draw(domain: Domain, variant: int, size: int) -> Picture:
    """A `size` x `size` picture of the kind; another `variant` is another patient."""
    rng = np.random.default_rng([DOMAINS.index(domain), variant])
    y, x = np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j]
    colours = DRAWN[domain](x, y, rng) + rng.normal(0, 3, (size, size, 1))
    rgb = colours.clip(0, 255).astype(np.uint8).tobytes()
    return Picture(rgb, size, "", "drawing", size, size, None)


def png(picture: Picture) -> bytes:
    """The picture as a PNG file (W3C, Portable Network Graphics, 3rd edition)."""
    size = picture.size
    rows = (picture.rgb[3 * size * y : 3 * size * (y + 1)] for y in range(size))
    header = struct.pack(">IIBBBBB", size, size, 8, 2, 0, 0, 0)
    pixels = zlib.compress(b"".join(b"\0" + row for row in rows))
    chunks = ((b"IHDR", header), (b"IDAT", pixels), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )


def _lesion(x: Plane, y: Plane, rng: np.random.Generator) -> Plane:
    """A brown spot with a soft, uneven edge on skin."""
    away, angle = np.hypot(x - rng.uniform(-0.1, 0.1), y), np.arctan2(y, x)
    edge = 0.5 + 0.05 * np.sin(3 * angle + rng.uniform(0, 6)) + 0.03 * np.sin(7 * angle)
    spot = _soft(edge - away, 0.08)[..., None]
    network = 8 * np.sin(40 * x)[..., None] * np.sin(40 * y)[..., None]
    drawn: Plane = (1 - spot) * _colour(222, 170, 150) + spot * (_colour(125, 80, 62) + network)
    return drawn


def _fundus(x: Plane, y: Plane, rng: np.random.Generator) -> Plane:
    """An orange disc on black, with optic disc, macula and vessels."""
    side = 1 if rng.uniform() < 0.5 else -1
    x = x * side
    from_disc = np.hypot(x - 0.45, y)
    drawn: Plane = _colour(200, 95, 45) * (1 - 0.35 * np.hypot(x, y)[..., None] ** 2)
    drawn = drawn - 45 * np.exp(-((np.hypot(x + 0.15, y) / 0.16) ** 2))[..., None]
    for bend in (*rng.uniform(0.5, 0.9, 2), *rng.uniform(1.1, 1.8, 2)):
        for up in (-1, 1):
            path = up * bend * np.sqrt(np.abs(x - 0.45) * 0.35)
            vessel = np.exp(-(((y - path) / 0.018) ** 2)) * (from_disc > 0.05)
            drawn = drawn - vessel[..., None] * _colour(75, 55, 25)
    drawn = drawn + _soft(0.13 - from_disc, 0.02)[..., None] * _colour(50, 115, 75)
    return drawn * _soft(0.93 - np.hypot(x, y), 0.01)[..., None]


def _chest(x: Plane, y: Plane, rng: np.random.Generator) -> Plane:
    """Two dark lungs with ribs beside a bright spine and heart, in grey."""
    body = _soft(0.98 - (x / 0.95) ** 2 - (np.maximum(-y - 0.35, 0) / 0.75) ** 2, 0.15)
    grey = 25 + 150 * body
    for side in (-1, 1):
        width = rng.uniform(0.27, 0.32)
        lung = 1 - ((x - side * 0.42) / width) ** 2 - ((y + 0.05) / 0.68) ** 2
        ribs = 14 * np.sin(22 * (y - 0.35 * x * side))
        grey = grey - _soft(lung, 0.25) * (105 - ribs)
    grey = grey + 35 * np.exp(-((x / 0.07) ** 2))
    heart = 1 - ((x - 0.12) / rng.uniform(0.26, 0.32)) ** 2 - ((y - 0.3) / 0.3) ** 2
    grey = grey + _soft(heart, 0.2) * 55
    return np.repeat(grey[..., None], 3, axis=2)


def _soft(inside: Plane, width: float) -> Plane:
    """1 where `inside` is well above 0, 0 where well below, smooth between."""
    return 1 / (1 + np.exp(-np.clip(inside / width * 4, -50, 50)))


def _colour(red: int, green: int, blue: int) -> Plane:
    return np.array([red, green, blue], dtype=np.float64)


DRAWN: dict[Domain, Callable[[Plane, Plane, np.random.Generator], Plane]] = {
    "skin": _lesion,
    "fundus": _fundus,
    "chest": _chest,
}
