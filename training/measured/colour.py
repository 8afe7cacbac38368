"""CIE L*a*b* of sRGB pixels: the colour space in which a distance is a seen difference."""

import numpy as np
from numpy.typing import NDArray

_CODES = np.arange(256, dtype=np.float32) / 255
_LINEAR = np.where(_CODES <= 0.04045, _CODES / 12.92, ((_CODES + 0.055) / 1.055) ** 2.4).astype(
    np.float32
)
"""IEC 61966-2-1: light of each code."""
_TO_XYZ = np.array(
    [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]], np.float32
)
_TO_WHITE = (_TO_XYZ / _TO_XYZ.sum(1, keepdims=True)).T


def lab(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """L*, a*, b* (last axis) of RGB bytes, white at (255, 255, 255); CIE 15:2004, section 8.2.1."""
    xyz = _LINEAR[pixels] @ _TO_WHITE
    f = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz * (29 / 6) ** 2 / 3 + 4 / 29)
    x, y, z = f[..., 0], f[..., 1], f[..., 2]
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1).astype(np.float32)
