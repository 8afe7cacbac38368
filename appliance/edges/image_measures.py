"""Simple measures of a picture, by Pillow alone: enough to tell a blank, a blurred or a dark one.

All are of the whole picture reduced to SIDE x SIDE, so that they mean the same at any size and cost
a few milliseconds. Knows nothing of limits: those are a release's.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.Image import Image

SIDE = 128
DARK, BRIGHT = 24, 240
"""Brightness below and above which nothing can be told, of 255."""
GREY = 12
"""A pixel whose channels lie within so much of each other, of 255, has no colour."""
SHADES = 32
"""Steps of brightness that count as one shade each."""


def measure(image: "Image") -> dict[str, float]:
    """Every measure of an RGB picture by its name; shares and ratios are 0 to 1 unless said.

    - spread: 95th less 5th percentile of brightness, over 255
    - dark, bright: share of the middle half that is below DARK, above BRIGHT
    - detail: spread of what a blur of 2 pixels takes away, over the spread of brightness: high
      frequencies against all, near 0 in a blurred picture (as Crete et al. 2007,
      doi:10.1117/12.702790, compare a picture with its own blur)
    - grain: the same for a median of 3 x 3, which keeps edges and takes noise away
    - entropy: of brightness, in bits, 0 to 8 (Shannon 1948)
    - one_shade: share of the commonest of SHADES shades
    - lines: how uneven rows and columns are in their edges, as a coefficient of variation: high in
      text, windows and rules, which lie along the axes
    - colourless: share of pixels without colour
    - saturation: mean, as in HSV
    - red, blue: their share in all light
    """
    from PIL import ImageChops, ImageFilter, ImageStat
    from PIL.Image import Resampling

    small = image.resize((SIDE, SIDE), Resampling.BILINEAR, reducing_gap=3)
    grey = small.convert("L")
    histogram = grey.histogram()
    contrast = ImageStat.Stat(grey).stddev[0] or 1.0
    quarter = SIDE // 4
    middle = grey.crop((quarter, quarter, SIDE - quarter, SIDE - quarter)).histogram()
    red, green, blue = small.split()
    chroma = ImageChops.subtract(
        ImageChops.lighter(ImageChops.lighter(red, green), blue),
        ImageChops.darker(ImageChops.darker(red, green), blue),
    )
    light = [mean + 1 for mean in ImageStat.Stat(small).mean]

    def taken_away(kept: "Image") -> float:
        return ImageStat.Stat(ImageChops.subtract(grey, kept, 2, 128)).stddev[0] * 2 / contrast

    return {
        "spread": (_percentile(histogram, 0.95) - _percentile(histogram, 0.05)) / 255,
        "dark": sum(middle[:DARK]) / sum(middle),
        "bright": sum(middle[BRIGHT + 1 :]) / sum(middle),
        "detail": taken_away(grey.filter(ImageFilter.GaussianBlur(2))),
        "grain": taken_away(grey.filter(ImageFilter.MedianFilter(3))),
        "entropy": grey.entropy(),
        "one_shade": _commonest_shade(histogram),
        "lines": _lines(grey),
        "colourless": sum(chroma.histogram()[:GREY]) / SIDE**2,
        "saturation": ImageStat.Stat(small.convert("HSV")).mean[1] / 255,
        "red": light[0] / sum(light),
        "blue": light[2] / sum(light),
    }


def _percentile(histogram: Sequence[int], share: float) -> int:
    wanted = share * sum(histogram)
    seen = 0
    for value, count in enumerate(histogram):
        seen += count
        if seen > wanted:
            return value
    return len(histogram) - 1


def _commonest_shade(histogram: Sequence[int]) -> float:
    width = len(histogram) // SHADES
    shades = (sum(histogram[low : low + width]) for low in range(0, len(histogram), width))
    return max(shades) / sum(histogram)


def _lines(grey: "Image") -> float:
    """The larger of both axes: spread over mean of the edges' strength by row or column."""
    from PIL import ImageChops, ImageStat
    from PIL.Image import Resampling

    found = 0.0
    for across, profile in (((0, 1), (1, SIDE)), ((1, 0), (SIDE, 1))):
        edges = ImageChops.difference(grey, ImageChops.offset(grey, *across))
        by_line = edges.convert("F").resize(profile, Resampling.BOX)
        statistic = ImageStat.Stat(by_line)
        found = max(found, statistic.stddev[0] / (statistic.mean[0] + 1))
    return found
