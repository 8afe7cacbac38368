"""The square every measure is taken on, and the filters that more than one domain needs.

A picture is measured as the model sees it: squashed to a square. What is stated is then measured
on the very pixels the model is shown, and one set of sizes in pixels serves every camera.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

SIDE = 160
"""Side of the square in pixels: the training cache's; the model's 112 to 160 lie within it."""

Plane = NDArray[np.floating[Any]]
Mask = NDArray[np.bool_]
Pixels = NDArray[np.uint8]

ROWS, COLUMNS = np.mgrid[:SIDE, :SIDE].astype(np.float32)
RADIUS: Plane = np.hypot(ROWS - (SIDE - 1) / 2, COLUMNS - (SIDE - 1) / 2) / (SIDE / 2)
"""Distance from the centre of the frame, as a share of half its side."""


def square(pixels: Pixels) -> Pixels:
    """(height, width, 3) bytes squashed to (SIDE, SIDE, 3), bilinear, as at the clinic."""
    if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype != np.uint8:
        raise ValueError(f"not an RGB image of bytes: {pixels.shape}, {pixels.dtype}")
    if pixels.shape[:2] == (SIDE, SIDE):
        return pixels
    from PIL import Image

    image = Image.fromarray(pixels).resize((SIDE, SIDE), Image.Resampling.BILINEAR)
    return np.asarray(image)


def otsu(values: NDArray[Any]) -> float:
    """The value that parts `values` best in two (Otsu 1979, doi:10.1109/TSMC.1979.4310076)."""
    counts, edges = np.histogram(values, bins=128)
    middles = (edges[:-1] + edges[1:]) / 2
    below = np.cumsum(counts).astype(np.float64)
    above = below[-1] - below
    sums = np.cumsum(counts * middles)
    mean_below = sums / np.maximum(below, 1)
    mean_above = (sums[-1] - sums) / np.maximum(above, 1)
    between = below * above * (mean_below - mean_above) ** 2
    return float(edges[1 + int(np.argmax(between))])


def blur(plane: Plane, sigma: float) -> Plane:
    from scipy import ndimage

    blurred: Plane = ndimage.gaussian_filter(plane, sigma, truncate=3)
    return blurred


def curvature(plane: Plane, sigma: float) -> tuple[Plane, Plane]:
    """The Hessian's larger and smaller eigenvalue at scale `sigma`, times sigma squared.

    A dark line has a large first and a small second; a bright spot two negative ones (Frangi
    1998, doi:10.1007/BFb0056195; normalised as Lindeberg 1998, doi:10.1023/A:1008045108935).
    """
    from scipy import ndimage

    def second(rows: int, columns: int) -> Plane:
        derivative: Plane = ndimage.gaussian_filter(plane, sigma, order=(rows, columns), truncate=3)
        return derivative * np.float32(sigma**2)

    down, across, mixed = second(2, 0), second(0, 2), second(1, 1)
    mean = (down + across) / 2
    spread: Plane = np.hypot((down - across) / 2, mixed)
    return mean + spread, mean - spread
