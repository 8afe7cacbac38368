"""What is measured on a dermoscopic picture: the ABCD rule's criteria, as numbers.

The rule is Stolz 1994 (Eur J Dermatol 4:521-527; validated by Nachbar 1994,
doi:10.1016/S0190-9622(94)70061-3). No measure depends on which side is up. The outline's
irregularity is not measured apart: its solidity ranks lesions as the asymmetry does. Colours are
not counted: on few pixels their spread tells melanoma from nevus, their number does not.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.measured.colour import lab
from training.measured.finding import Measure
from training.measured.frame import SIDE, Mask, Pixels
from training.measured.lesion import Lesion, find_lesion

MEASURES = (
    Measure(
        "asymmetry",
        "share of the lesion's darkness without a mirror image, 0 to 1",
        "mirrored about both principal axes, mean difference of darkness; A of Stolz 1994",
        ("symmetric shape and tone", "average symmetry", "asymmetric shape and tone"),
    ),
    Measure(
        "edge",
        "step of light across the outline over the lesion's contrast to the skin",
        "rings of 4 pixels inside and outside the outline; B (abrupt cut-off) of Stolz 1994",
        ("edge fades into the skin", "edge of average sharpness", "abrupt cut-off at the edge"),
    ),
    Measure(
        "colours",
        "CIE L*a*b* units: standard deviation of hue and chroma (a*, b*) in the lesion",
        "spread of a* and b* within the outline; C of Stolz 1994 as a spread, not a count",
        ("one even colour", "slightly varied colour", "several different colours"),
    ),
    Measure(
        "pigment",
        "fall of L* from the skin to the lesion, as a share of the skin's",
        "medians of CIE L* inside the outline and on the skin around it",
        ("little darker than the skin", "darker than the skin", "much darker than the skin"),
    ),
    Measure(
        "diameter",
        "diameter of the circle of the same area, as a share of the frame's side",
        "area within the outline; D of the ABCD list (Friedman 1985, "
        "doi:10.3322/canjclin.35.3.130) without a scale",
        ("small in the frame", "of average size in the frame", "large in the frame"),
    ),
)


def measure_skin(pixels: Pixels) -> dict[str, float]:
    lesion = find_lesion(pixels)
    inside = lab(pixels[lesion.inside])
    skin = np.median(lab(pixels[lesion.skin]), axis=0)
    return {
        "asymmetry": asymmetry(lesion),
        "edge": cut_off(lesion),
        "colours": float(np.sqrt(inside[:, 1:].var(axis=0).sum())),
        "pigment": float(1 - np.median(inside[:, 0]) / max(skin[0], 1)),
        "diameter": float(np.sqrt(4 * lesion.inside.sum() / np.pi) / SIDE),
    }


def asymmetry(lesion: Lesion) -> float:
    """Mean over both principal axes: what the mirrored darkness does not cover."""
    from scipy import ndimage

    darkness = np.median(lesion.light[lesion.skin]) - lesion.light
    darkness = np.clip(darkness, 0, None) * lesion.inside
    upright = ndimage.map_coordinates(darkness, _principal_grid(lesion.inside), order=1)
    total = upright.sum()
    if total <= 0:
        return 0.0
    differences = [np.abs(upright - np.flip(upright, axis)).sum() for axis in (0, 1)]
    return float(np.mean(differences) / total / 2)


def cut_off(lesion: Lesion) -> float:
    from scipy import ndimage

    within = lesion.inside & ~ndimage.binary_erosion(lesion.inside, iterations=4)
    around = ndimage.binary_dilation(lesion.inside, iterations=4) & ~lesion.inside
    contrast = np.median(lesion.light[lesion.skin]) - np.median(lesion.light[lesion.inside])
    if not around.any():
        return 0.0
    step = lesion.light[around].mean() - lesion.light[within].mean()
    return float(step / max(contrast, 5))  # codes of 255: less is noise


def _principal_grid(inside: Mask) -> NDArray[Any]:
    """Rows and columns of a 64 x 64 grid along the lesion's principal axes, 2.6 deviations out."""
    points = np.argwhere(inside).T
    variances, axes = np.linalg.eigh(np.cov(points))
    steps = np.linspace(-2.6, 2.6, 64) * np.sqrt(variances[1])
    along, across = np.meshgrid(steps, steps, indexing="ij")
    grid: NDArray[Any] = (
        points.mean(axis=1)[:, None, None]
        + along * axes[:, 1][:, None, None]
        + across * axes[:, 0][:, None, None]
    )
    return grid
