"""Chest measures on a drawn thorax. Right is the patient's: the image's left."""

import numpy as np
import pytest

from tests.training.measured_drawings import COLUMNS, ROWS, grained, thorax
from training.measured.chest import measure_chest, zones
from training.measured.frame import SIDE

ZONE_CENTRES = {
    (row, side): (centre, column)
    for row, centre in enumerate((40, 75, 108))
    for side, column in enumerate((42, 118))
}


@pytest.mark.parametrize("zone", ZONE_CENTRES)
def test_an_opaque_zone_is_found_where_it_is_drawn(zone: tuple[int, int]) -> None:
    row, column = ZONE_CENTRES[zone]
    picture = thorax()
    opaque = (np.abs(ROWS - row) < 18) & (np.abs(COLUMNS - column) < 24)
    picture[opaque] = np.maximum(picture[opaque], 185)
    rise = zones(grained(picture)[..., 0] / 255, 30) - zones(grained(thorax())[..., 0] / 255, 30)
    assert divmod(int(rise.argmax()), 2) == zone


def test_an_opaque_lower_left_zone_makes_the_left_and_the_lower_zones_denser() -> None:
    picture = thorax()
    opaque = (np.abs(ROWS - 108) < 18) & (np.abs(COLUMNS - 118) < 24)
    picture[opaque] = np.maximum(picture[opaque], 185)
    before, after = measure_chest(grained(thorax())), measure_chest(grained(picture))
    assert after["side"] < before["side"] - 0.1
    assert after["lower zones"] > before["lower zones"] + 0.1
    assert after["lung density"] > before["lung density"]


def test_opacity_in_both_lungs_makes_them_denser() -> None:
    picture = thorax()
    picture[60:] = np.maximum(picture[60:], 150)
    before, after = measure_chest(grained(thorax())), measure_chest(grained(picture))
    assert after["lung density"] > before["lung density"] + 0.2
    assert abs(after["side"] - before["side"]) < 0.05


def test_a_wider_heart_measures_wider() -> None:
    picture = thorax()
    picture[((ROWS - 95) / 30) ** 2 + ((COLUMNS - 88) / 38) ** 2 < 1] = 205
    before, after = measure_chest(grained(thorax())), measure_chest(grained(picture))
    assert after["heart"] > before["heart"] + 0.08
    assert after["central opacity"] > before["central opacity"]


def test_brightness_and_contrast_of_the_whole_picture_change_nothing() -> None:
    before = measure_chest(grained(thorax()))
    after = measure_chest(grained(0.8 * thorax() + 30))
    for name, value in before.items():
        assert abs(after[name] - value) < 0.03, name


def test_a_grey_picture_is_measured_without_failing() -> None:
    values = measure_chest(np.full((SIDE, SIDE, 3), 90, np.uint8))
    assert all(np.isfinite(value) for value in values.values())
