"""From a picture and its domain to its findings: the one table of what is measured."""

from collections.abc import Callable
from dataclasses import dataclass

from appliance.core.labels import Domain
from training.measured import chest, fundus, skin
from training.measured.finding import Finding, Measure, finding
from training.measured.frame import Pixels, square
from training.measured.thresholds import read_thresholds


@dataclass(frozen=True)
class Instrument:
    """What is measured on one domain's pictures, and by which function."""

    measures: tuple[Measure, ...]
    """In the order in which a caption states them."""
    measure: Callable[[Pixels], dict[str, float]]
    """Of a square picture: the value of each measure by name."""


INSTRUMENTS: dict[Domain, Instrument] = {
    "skin": Instrument(skin.MEASURES, skin.measure_skin),
    "fundus": Instrument(fundus.MEASURES, fundus.measure_fundus),
    "chest": Instrument(chest.MEASURES, chest.measure_chest),
}


def measured_values(domain: Domain, pixels: Pixels) -> dict[str, float]:
    """Of an RGB picture of any size.

    Raises: ValueError when it is not (height, width, 3) bytes.
    """
    return INSTRUMENTS[domain].measure(square(pixels))


def measured_findings(domain: Domain, pixels: Pixels) -> tuple[Finding, ...]:
    """Every measure of the domain, in its order."""
    values = measured_values(domain, pixels)
    thresholds = read_thresholds()[domain]
    return tuple(
        finding(measure, thresholds[measure.name], values[measure.name])
        for measure in INSTRUMENTS[domain].measures
    )
