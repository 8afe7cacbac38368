"""What a measure is, where its cut points lie, and the finding it gives for one image.

Owns the three ordered levels and when a stated level agrees with a measured value. Knows no
image and no caption.
"""

from dataclasses import dataclass
from typing import Literal, get_args

Level = Literal["low", "middle", "high"]
LEVELS: tuple[Level, ...] = get_args(Level)

TOLERANCE = 0.05
"""Half-width of the band about a cut point, as a share of the training images: a level stated
within it is confirmed from either side, because no reader tells two neighbours at a cut apart."""
CLEARANCE = 0.1
"""A level is clear that lies at least this share of the training images beyond its cut."""


@dataclass(frozen=True)
class Measure:
    """One number that can be measured on any image of its domain."""

    name: str
    unit: str
    method: str
    """How it is measured, and the source."""
    phrases: tuple[str, str, str]
    """What a caption says at the low, middle and high level."""
    quantiles: tuple[float, float] = (0.3, 0.7)
    """Shares of the training images below the low and the high cut: "high" means top 30 %."""

    def phrase(self, level: Level) -> str:
        return self.phrases[LEVELS.index(level)]


@dataclass(frozen=True)
class Cut:
    """A cut point between two levels with its tolerance band, in the measure's unit."""

    below: float
    at: float
    above: float
    clear: float
    """From here on outward the outer level is clear."""


@dataclass(frozen=True)
class Cuts:
    """The two cut points of a measure."""

    low: Cut
    high: Cut

    def level(self, value: float) -> Level:
        if value <= self.low.at:
            return "low"
        return "high" if value >= self.high.at else "middle"

    def is_clear(self, value: float) -> bool:
        """Whether `value` is low or high beyond doubt."""
        return value <= self.low.clear or value >= self.high.clear

    def from_ordinary(self, value: float) -> float:
        """How far `value` is from the middle of the middle level: 0 there, 1 at either cut."""
        reach = (self.high.at - self.low.at) / 2
        return abs(value - self.low.at - reach) / max(reach, 1e-9)

    def agrees(self, level: Level, value: float) -> bool:
        """Whether `value` is of `level`, or within the tolerance band beside it."""
        if level == "low":
            return value <= self.low.above
        if level == "high":
            return value >= self.high.below
        return self.low.below <= value <= self.high.above


@dataclass(frozen=True)
class Finding:
    """One measure of one image: the number, its level and how both were found."""

    name: str
    value: float
    unit: str
    level: Level
    clear: bool
    """Low or high beyond doubt: what a caption dares to state."""
    from_ordinary: float
    """0 in the middle of the middle level, 1 at either cut."""
    sentence: str
    """As a caption states it."""
    method: str


def finding(measure: Measure, cuts: Cuts, value: float) -> Finding:
    level = cuts.level(value)
    return Finding(
        measure.name,
        value,
        measure.unit,
        level,
        cuts.is_clear(value),
        cuts.from_ordinary(value),
        measure.phrase(level),
        measure.method,
    )
