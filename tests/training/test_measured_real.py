"""The measures on real training images: they run, and they part what they should."""

from pathlib import Path

import numpy as np
import pytest

from appliance.core.labels import DOMAINS, Domain
from training.measured.caption import confirmed, measured_caption
from training.measured.measurement import INSTRUMENTS, measured_values
from training.measured.sample import squares, train_examples
from training.measured.validity import area_under_curve

pytestmark = pytest.mark.data

PARTED: list[tuple[Domain, str, str, str, float]] = [
    ("skin", "colours", "melanoma", "melanocytic nevus", 0.65),
    ("skin", "asymmetry", "actinic keratosis", "melanocytic nevus", 0.75),
    ("fundus", "clarity", "normal fundus", "cataract", 0.75),
    ("fundus", "bright patches", "pathological myopia", "normal fundus", 0.75),
    ("chest", "central opacity", "bacterial pneumonia", "normal chest", 0.7),
]


@pytest.mark.parametrize("domain", DOMAINS)
def test_thirty_real_images_are_captioned_and_confirmed(shared: Path, domain: Domain) -> None:
    examples = [e for e in train_examples(shared / "data", 15) if e.domain == domain][::3][:30]
    for example, pixels in zip(examples, squares(shared / "data", examples), strict=True):
        found = confirmed(measured_caption(example.label, pixels), pixels, domain)
        assert found.confirmed == found.stated > found.unknown == 0


@pytest.mark.parametrize(("domain", "measure", "more", "less", "floor"), PARTED)
def test_a_measure_parts_the_labels_it_is_for(
    shared: Path, domain: Domain, measure: str, more: str, less: str, floor: float
) -> None:
    assert measure in {known.name for known in INSTRUMENTS[domain].measures}
    examples = [e for e in train_examples(shared / "data", 30) if e.label in (more, less)]
    values: dict[str, list[float]] = {more: [], less: []}
    for example, pixels in zip(examples, squares(shared / "data", examples), strict=True):
        values[example.label].append(measured_values(domain, pixels)[measure])
    assert area_under_curve(np.array(values[more]), np.array(values[less])) >= floor
