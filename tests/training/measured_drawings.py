"""Pictures drawn for the tests of the measures: each has one thing to be found."""

import numpy as np
from numpy.typing import NDArray

SIDE = 160
ROWS, COLUMNS = np.mgrid[:SIDE, :SIDE].astype(np.float64)

Picture = NDArray[np.uint8]
SKIN = (215, 165, 145)
MOLE = (110, 70, 50)


def disc(row: float, column: float, radius: float) -> NDArray[np.bool_]:
    inside: NDArray[np.bool_] = np.hypot(ROWS - row, COLUMNS - column) < radius
    return inside


def grained(picture: NDArray[np.float64], seed: int = 0) -> Picture:
    """With a camera's grain, so that no measure meets a perfect plane."""
    noise = np.random.default_rng(seed).normal(0, 2, picture.shape)
    return np.clip(picture + noise, 0, 255).astype(np.uint8)


def skin_with(
    lesion: NDArray[np.bool_], colour: tuple[int, int, int] = MOLE
) -> NDArray[np.float64]:
    picture = np.full((SIDE, SIDE, 3), SKIN, dtype=np.float64)
    picture[lesion] = colour
    return picture


def blob() -> NDArray[np.bool_]:
    """An outline with an arm and a bay."""
    return (disc(80, 70, 26) | disc(55, 95, 14) | disc(105, 100, 9)) & ~disc(88, 50, 12)


def retina(vessels: int = 8, disc_at: tuple[int, int] = (80, 115)) -> NDArray[np.float64]:
    """A round field, an optic disc, and dark vessels fanning out of it."""
    picture = np.zeros((SIDE, SIDE, 3))
    field = disc(79.5, 79.5, 76)
    picture[field] = (190, 110, 60)
    for angle in np.linspace(0, 2 * np.pi, vessels, endpoint=False):
        along = (ROWS - disc_at[0]) * np.sin(angle) + (COLUMNS - disc_at[1]) * np.cos(angle)
        across = (ROWS - disc_at[0]) * np.cos(angle) - (COLUMNS - disc_at[1]) * np.sin(angle)
        picture[field & (along > 0) & (np.abs(across) < 1.3)] = (130, 60, 40)
    picture[disc(*disc_at, 10)] = (250, 210, 140)
    return picture


def thorax(lung: float = 70) -> NDArray[np.float64]:
    """Two dark lungs in a grey chest, a heart and a bright midline; ribs across the lungs."""
    grey = np.full((SIDE, SIDE), 170.0)
    grey[:, :8] = grey[:, -8:] = 15
    for column in (42, 118):
        inside = ((ROWS - 78) / 58) ** 2 + ((COLUMNS - column) / 26) ** 2 < 1
        grey[inside] = lung + 12 * (np.sin(ROWS[inside] / 2.5) > 0.4)
    grey[:, 72:88] = 215
    heart = ((ROWS - 95) / 30) ** 2 + ((COLUMNS - 88) / 24) ** 2 < 1
    grey[heart] = 205
    return np.repeat(grey[..., None], 3, axis=-1)


def blurred(picture: NDArray[np.float64], sigma: float) -> NDArray[np.float64]:
    from scipy import ndimage

    soft: NDArray[np.float64] = ndimage.gaussian_filter(picture, (sigma, sigma, 0))
    return soft
