"""How far a pair may be from its parent: margins.toml, and what was found against it."""

from dataclasses import dataclass
from pathlib import Path

from export.agreement import Agreement
from export.pair import Pair
from training.recipe import read_toml

MARGINS = Path(__file__).with_name("margins.toml")
LEAST = ("same_label", "json_valid", "caption_similarity")
"""Measures that may not be smaller than their margin; the others may not be larger."""


@dataclass(frozen=True)
class Check:
    """One measure against its margin."""

    measure: str
    found: float
    margin: float
    is_least: bool
    """Whether the margin is the least that will do, or the most."""

    @property
    def passes(self) -> bool:
        return self.found >= self.margin if self.is_least else self.found <= self.margin

    def __str__(self) -> str:
        return (
            f"{self.measure} {self.found:.5g}, {'least' if self.is_least else 'most'} "
            f"{self.margin:g}"
        )


@dataclass(frozen=True)
class Margins:
    text: dict[str, dict[str, float]]
    """By the decoder's kind."""
    projector: dict[str, dict[str, float]]


def read_margins() -> Margins:
    return read_toml(MARGINS, Margins, {})


def checks_of(pair: Pair, found: Agreement) -> tuple[Check, ...]:
    """Each margin of the pair's kinds with what was found."""
    margins = read_margins()
    limits = margins.text[pair.source.text] | margins.projector[pair.source.projector]
    return tuple(
        Check(measure, getattr(found, measure), margin, measure in LEAST)
        for measure, margin in limits.items()
    )
