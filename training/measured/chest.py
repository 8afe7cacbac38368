"""What is measured on a frontal chest radiograph, by a fixed model of six lung zones.

The zones are fixed shares of the frame, not a segmentation: on an opaque lung a segmentation by
brightness loses the very region that matters. Brightness is relative to the same chest's darkest
and brightest, as the exposure is not known: lungs equally white throughout cannot be told from
dark ones. Right is the patient's: the image's left. Interstitial texture is not measured: fine
contrast does not part viral from bacterial pneumonia, and a zoom changes it.
"""

import numpy as np
from numpy.typing import NDArray

from training.measured.finding import Measure
from training.measured.frame import SIDE, Pixels, Plane, blur, otsu

ZONES = "six fixed zones (upper, mid, lower; right, left), those of the ILO classification (2022)"
MEASURES = (
    Measure(
        "central opacity",
        "mean brightness of the middle of the chest, 0 (darkest) to 1",
        "heart and both hila between the frame's 3rd and 97th percentile of brightness",
        ("little central opacity", "average central opacity", "extensive central opacity"),
    ),
    Measure(
        "lung density",
        "brightness of the lungs between their ribs, 0 (darkest) to 1",
        f"mean over {ZONES} of each zone's 30th percentile",
        ("dark well aired lungs", "lungs of average density", "dense lungs"),
    ),
    Measure(
        "lower zones",
        "brightness of the lower zones less the upper, -1 to 1",
        ZONES,
        ("lower zones dark", "lower zones of average density", "lower zones dense"),
    ),
    Measure(
        "side",
        "brightness of the right zones less the left, -1 to 1",
        ZONES,
        ("left lung denser", "lungs alike on both sides", "right lung denser"),
        quantiles=(0.2, 0.8),
    ),
    Measure(
        "heart",
        "width of the heart's shadow as a share of the frame",
        "run of brightness above Otsu's threshold about the midline at the heart's height; the "
        "cardiothoracic ratio (Danzer 1919, Am J Med Sci 157:513) with the frame for the thorax",
        ("narrow heart shadow", "heart shadow of average width", "wide heart shadow"),
    ),
)

BOX = (0.12, 0.82, 0.10, 0.90)
"""Shares of the frame: the chest between neck, arms and belly."""
ZONE_ROWS = ((0.14, 0.36), (0.36, 0.58), (0.58, 0.80))
ZONE_COLUMNS = ((0.12, 0.40), (0.60, 0.88))
CENTRE = (0.36, 0.66, 0.30, 0.70)
HEART_ROWS = (0.50, 0.66)


def measure_chest(pixels: Pixels) -> dict[str, float]:
    grey: Plane = pixels.mean(axis=-1, dtype=np.float32) / 255
    smooth = blur(grey, 2)
    darkest, brightest = np.percentile(_part(smooth, *BOX), [3, 97])
    extent = max(float(brightest - darkest), 0.02)
    opacity: Plane = np.clip((smooth - darkest) / extent, 0, 1)
    between_ribs = zones(opacity, 30)
    means = np.array([[_zone(opacity, row, side).mean() for side in (0, 1)] for row in range(3)])
    return {
        "central opacity": float(_part(opacity, *CENTRE).mean()),
        "lung density": float(between_ribs.mean()),
        "lower zones": float(means[2].mean() - means[0].mean()),
        "side": float(between_ribs[:, 0].mean() - between_ribs[:, 1].mean()),
        "heart": heart_width(opacity),
    }


def zones(opacity: Plane, percentile: float) -> NDArray[np.float64]:
    """(upper, mid, lower) x (right, left): a percentile of each zone."""
    return np.array(
        [
            [np.percentile(_zone(opacity, row, side), percentile) for side in (0, 1)]
            for row in range(3)
        ]
    )


def heart_width(opacity: Plane) -> float:
    """Columns about the brightest near the midline that stay above Otsu's threshold."""
    profile = _part(opacity, *HEART_ROWS, 0, 1).mean(axis=0)
    first, last = round(0.08 * SIDE), round(0.92 * SIDE)
    bright = profile > otsu(profile[first:last])
    start = round(0.4 * SIDE)
    middle = start + int(np.argmax(profile[start : round(0.62 * SIDE)]))
    if not bright[middle]:
        return 0.0
    dark = np.flatnonzero(~bright)
    left = dark[dark < middle].max(initial=-1)
    right = dark[dark > middle].min(initial=SIDE)
    return float(right - left - 1) / SIDE


def _zone(plane: Plane, row: int, side: int) -> Plane:
    return _part(plane, *ZONE_ROWS[row], *ZONE_COLUMNS[side])


def _part(plane: Plane, top: float, bottom: float, left: float, right: float) -> Plane:
    return plane[round(top * SIDE) : round(bottom * SIDE), round(left * SIDE) : round(right * SIDE)]
