"""Where the lesion is in a dermoscopic picture.

Owns the vignette, the fall of light, hair and the outline. Knows nothing of what is measured.
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from training.measured.frame import RADIUS, Mask, Pixels, Plane, blur, otsu

HAIR = 5
"""Pixels: a hair is 1 to 3 wide on the square, so a closing by this takes it away."""
CENTRE_WEIGHT = np.exp(-2 * RADIUS**2).astype(np.float32) - 0.3
"""The lesion is what was put in the middle of the picture; what lies at its rim counts against."""
SMALLEST = 60
"""Pixels: less is no outline, and the middle of the frame is measured instead."""

_RINGS = np.linspace(0, 1.42, 13)
_RING_PIXELS = [
    np.flatnonzero((inner <= RADIUS) & (outer > RADIUS)) for inner, outer in pairwise(_RINGS)
]


@dataclass(frozen=True)
class Lesion:
    """The lesion's pixels and the skin around it."""

    inside: Mask
    skin: Mask
    light: Plane
    """Green and blue, which pigment and blood absorb: hairs closed, fall of light taken out."""


def find_lesion(pixels: Pixels) -> Lesion:
    """Otsu's threshold on green and blue (thresholding among the ways reviewed in Celebi 2009,
    doi:10.1016/j.compmedimag.2008.11.002); hairs are first closed, as DullRazor does (Lee 1997,
    doi:10.1016/S0010-4825(97)00020-6)."""
    from scipy import ndimage

    light = pixels[..., 1:].mean(-1, dtype=np.float32)
    light = blur(ndimage.grey_closing(light, size=HAIR), 2)
    seen = ~_vignette(light)
    light = _level_light(light, seen)
    dark = ndimage.binary_opening((light < otsu(light[seen])) & seen, iterations=2)
    parts, count = ndimage.label(dark)
    if count:
        weights = ndimage.sum_labels(CENTRE_WEIGHT, parts, np.arange(1, count + 1))
        dark = ndimage.binary_fill_holes(parts == 1 + int(np.argmax(weights)))
    if dark.sum() < SMALLEST:
        dark = RADIUS < 0.2
    skin = seen & ~ndimage.binary_dilation(dark, iterations=4)
    if skin.sum() < SMALLEST:
        skin = seen & (light > np.percentile(light, 90))
    return Lesion(dark, skin, light)


def _vignette(light: Plane) -> Mask:
    """The dark rim of the dermatoscope: dark and joined to a corner of the picture."""
    from scipy import ndimage

    parts, _ = ndimage.label(light < 0.6 * np.median(light))
    corners = {parts[row, column] for row in (0, -1) for column in (0, -1)} - {0}
    rim: Mask = np.isin(parts, list(corners))
    if not rim.any() or rim.mean() > 0.45:  # a lesion that fills the picture is no rim
        return np.zeros_like(rim)
    wider: Mask = ndimage.binary_dilation(rim, iterations=6)
    return wider


def _level_light(light: Plane, seen: Mask) -> Plane:
    """Divide by the fall of light from the middle outwards.

    The skin's light in a ring is its upper quartile; a ring darker than one further out is so
    because of the lesion, not the lamp, and takes the outer one's.
    """
    upper = np.zeros(len(_RING_PIXELS))
    for ring, places in enumerate(_RING_PIXELS):
        values = light.ravel()[places][seen.ravel()[places]]
        if len(values) > 0.3 * len(places):
            upper[ring] = np.percentile(values, 75)
    if not upper.any():
        return light
    upper = np.maximum.accumulate(upper[::-1])[::-1]
    upper[upper == 0] = upper[upper > 0].min()
    fall = np.interp(RADIUS, (_RINGS[:-1] + _RINGS[1:]) / 2, upper)
    levelled: Plane = (light / fall * upper[0]).astype(np.float32)
    return levelled
