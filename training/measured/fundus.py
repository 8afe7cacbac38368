"""What is measured on a fundus photograph, in the green channel, where blood and exudates show.

No measure depends on which side is up or which eye it is. Dark lesions are not measured: on the
model's few pixels a haemorrhage cannot be told from a stretch of vessel.
"""

import numpy as np

from training.measured.finding import Measure
from training.measured.frame import COLUMNS, RADIUS, ROWS, Mask, Pixels, Plane, blur, curvature

MEASURES = (
    Measure(
        "clarity",
        "90th percentile of fine contrast in the green channel, over the channel's mean",
        "difference of Gaussians of 1 and 3 pixels within the field; haze flattens it, as in the "
        "image-clarity grading of Fleming 2006, doi:10.1167/iovs.05-1155",
        ("hazy view of the retina", "fairly clear view", "clear view of the retina"),
    ),
    Measure(
        "vessels",
        "strength of the dark lines over the standard deviation of the levelled field",
        "95th percentile of the Hessian's ridges at 1.2 pixels; Frangi 1998, "
        "doi:10.1007/BFb0056195",
        ("vessels hardly stand out", "vessels stand out in part", "vessels stand out"),
    ),
    Measure(
        "disc",
        "brightness of the disc above its surroundings, over the field's mean",
        "brightest place of red and green, blurred by 5 less 20 pixels; Sinthanayothin 1999, "
        "doi:10.1136/bjo.83.8.902, finds the disc by intensity likewise",
        ("faint optic disc", "optic disc of average brightness", "bright optic disc"),
    ),
    Measure(
        "bright patches",
        "strength of the brightest spots outside the disc, over the local light",
        "99.5th percentile of the smaller spot curvature at 2.5 pixels, 19 pixels away from the "
        "disc; Lindeberg 1998, doi:10.1023/A:1008045108935",
        ("few or no bright patches", "faint bright patches", "marked bright patches"),
        quantiles=(0.4, 0.8),
    ),
)

DISC_RADIUS = 19
"""Pixels: a disc is about a seventh of a 45 degree field, here 20 across; with its bright rim."""


def measure_fundus(pixels: Pixels) -> dict[str, float]:
    light: Plane = pixels.astype(np.float32) / 255
    field = field_mask(light)
    inner = _within(field, 9)
    green, around = _levelled(light[..., 1], _within(field, 2))
    mean = float(green[inner].mean()) + 1e-3
    (row, column), disc = find_disc(light, field, inner)
    away = inner & (np.hypot(ROWS - row, COLUMNS - column) > DISC_RADIUS)
    fine = blur(green, 1) - blur(green, 3)
    largest, smallest = curvature(green, 1.2)
    ridge = np.where(np.abs(smallest) < 0.5 * largest, largest, 0)[inner]
    spread = float((green - around)[inner].std()) + 1e-3
    spots = np.clip(-curvature(green, 2.5)[0], 0, None) / around
    return {
        "clarity": float(np.percentile(np.abs(fine[inner]), 90)) / mean,
        "vessels": float(np.percentile(ridge, 95)) / spread,
        "disc": disc,
        "bright patches": float(np.percentile(spots[away], 99.5)),
    }


def field_mask(light: Plane) -> Mask:
    """The round field: lighter than the picture's blackest hundredth."""
    from scipy import ndimage

    brightest = ndimage.uniform_filter(light.max(axis=-1), 3)
    field = brightest > np.percentile(brightest, 1) + 0.06
    field = ndimage.binary_fill_holes(ndimage.binary_opening(field, iterations=2))
    seen: Mask = field if field.mean() > 0.2 else RADIUS < 0.95
    return seen


def find_disc(light: Plane, field: Mask, inner: Mask) -> tuple[tuple[int, int], float]:
    """Where the optic disc most likely is, and how far it outshines its surroundings."""
    weight = field.astype(np.float32)
    both: Plane = light[..., :2].mean(axis=-1)
    shine = np.where(inner, _mean_about(both, weight, 5) - _mean_about(both, weight, 20), -1)
    row, column = np.unravel_index(int(np.argmax(shine)), shine.shape)
    return (int(row), int(column)), float(shine[row, column] / (both[inner].mean() + 1e-3))


def _levelled(green: Plane, field: Mask) -> tuple[Plane, Plane]:
    """Green with the dark outside filled by its surroundings, and the local light."""
    around = _mean_about(green, field.astype(np.float32), 12)
    return np.where(field, green, around), around + np.float32(0.02)


def _mean_about(plane: Plane, weight: Plane, sigma: float) -> Plane:
    """Weighted mean within about `sigma` pixels, by two box filters: as cheap at any width."""
    from scipy import ndimage

    size = 2 * round(sigma * 6**0.5 / 2) + 1  # two boxes of this size have the variance sigma^2

    def smooth(values: Plane) -> Plane:
        twice: Plane = ndimage.uniform_filter(ndimage.uniform_filter(values, size), size)
        return twice

    return smooth(plane * weight) / np.maximum(smooth(weight), 1e-3)


def _within(field: Mask, margin: int) -> Mask:
    """The field without `margin` pixels of its rim; the picture's own edge is no rim."""
    from scipy import ndimage

    inner: Mask = ndimage.binary_erosion(field, iterations=margin, border_value=1)
    return inner if inner.any() else field
