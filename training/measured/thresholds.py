"""The cut points between levels, set at quantiles of the training split.

    python -m training measured thresholds --data DIR

So "asymmetric" means "among the most asymmetric 30 % of the training images", a statement about
those images and not a clinical cut-off. Owns thresholds.toml; knows no measure's arithmetic.
"""

import tomllib
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from appliance.core.labels import DOMAINS, Domain
from training.measured.finding import CLEARANCE, TOLERANCE, Cut, Cuts, Measure
from training.whole_file import write_whole

TABLE = Path(__file__).with_name("thresholds.toml")
HEAD = """\
# Written by: python -m training measured thresholds --data DIR
# For each measure its low and high cut point, each as [below, at, above, clear]: the values at the
# measure's quantile of the training split, {tolerance:.2f} of the images to either side, and
# {clearance:.2f} of them outward.
"""


@cache
def read_thresholds() -> dict[Domain, dict[str, Cuts]]:
    """The cut points of each domain's measures, by name."""
    table = tomllib.loads(TABLE.read_text(encoding="utf-8"))
    return {
        domain: {
            name: Cuts(Cut(*cuts["low"]), Cut(*cuts["high"]))
            for name, cuts in table[domain].items()
        }
        for domain in DOMAINS
    }


def cuts_of(measure: Measure, values: NDArray[np.float64]) -> Cuts:
    """The cut points of one measure from its values on the training images."""

    def cut(quantile: float, clear: float) -> Cut:
        places = [quantile - TOLERANCE, quantile, quantile + TOLERANCE, clear]
        return Cut(*(float(f"{value:.4g}") for value in np.quantile(values, places)))

    low, high = measure.quantiles
    return Cuts(cut(low, low - CLEARANCE), cut(high, high + CLEARANCE))


def thresholds_toml(cuts: dict[Domain, dict[str, Cuts]]) -> str:
    lines = [HEAD.format(tolerance=TOLERANCE, clearance=CLEARANCE)]
    for domain, measures in cuts.items():
        for name, pair in measures.items():
            lines.append(f'[{domain}."{name}"]')
            for which, cut in (("low", pair.low), ("high", pair.high)):
                lines.append(f"{which} = [{cut.below}, {cut.at}, {cut.above}, {cut.clear}]")
            lines.append("")
    return "\n".join(lines)


def write_thresholds(values: dict[Domain, dict[str, NDArray[np.float64]]]) -> Path:
    """Set the cut points of every measure from its values on the training images."""
    from training.measured.measurement import INSTRUMENTS  # which reads this module's table

    cuts = {
        domain: {
            measure.name: cuts_of(measure, values[domain][measure.name])
            for measure in instrument.measures
        }
        for domain, instrument in INSTRUMENTS.items()
    }
    write_whole(TABLE, thresholds_toml(cuts))
    return TABLE
