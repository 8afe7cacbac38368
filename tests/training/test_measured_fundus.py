"""Fundus measures on a drawn retina."""

import numpy as np

from tests.training.measured_drawings import blurred, disc, grained, retina
from training.measured.frame import SIDE
from training.measured.fundus import field_mask, find_disc, measure_fundus


def test_the_disc_is_found_where_it_is_drawn() -> None:
    light = grained(retina(disc_at=(60, 50))).astype(np.float32) / 255
    field = field_mask(light)
    (row, column), _ = find_disc(light, field, field)
    assert np.hypot(row - 60, column - 50) < 6


def test_the_field_is_the_round_that_is_drawn() -> None:
    field = field_mask(grained(retina()).astype(np.float32) / 255)
    drawn = disc(79.5, 79.5, 76)
    assert (field & drawn).sum() / (field | drawn).sum() > 0.95


def test_blur_lowers_clarity_and_hides_vessels() -> None:
    clear = measure_fundus(grained(retina()))
    hazy = measure_fundus(grained(blurred(retina(), 3)))
    assert hazy["clarity"] < 0.8 * clear["clarity"]
    assert hazy["vessels"] < 0.7 * clear["vessels"]


def test_vessels_stand_out_more_where_there_are_some() -> None:
    none = measure_fundus(grained(retina(vessels=0)))
    many = measure_fundus(grained(retina(vessels=14)))
    assert many["vessels"] > 1.5 * none["vessels"]


def test_bright_spots_outside_the_disc_raise_the_bright_patches() -> None:
    spotted = retina()
    for row, column in ((60, 50), (90, 40), (75, 60)):
        spotted[disc(row, column, 3)] = (250, 230, 150)
    before, after = measure_fundus(grained(retina())), measure_fundus(grained(spotted))
    assert after["bright patches"] > 2 * before["bright patches"]
    assert abs(after["disc"] - before["disc"]) < 0.1


def test_a_paler_disc_is_brighter() -> None:
    dim = retina()
    dim[disc(80, 115, 10)] = (200, 130, 80)
    assert measure_fundus(grained(retina()))["disc"] > 2 * measure_fundus(grained(dim))["disc"]


def test_turning_and_mirroring_change_nothing_that_is_stated() -> None:
    upright = measure_fundus(grained(retina()))
    turned = measure_fundus(np.ascontiguousarray(np.rot90(grained(retina()))[:, ::-1]))
    for name, value in upright.items():
        assert abs(turned[name] - value) <= 0.02 * abs(value), name


def test_a_black_picture_is_measured_without_failing() -> None:
    values = measure_fundus(np.zeros((SIDE, SIDE, 3), np.uint8))
    assert all(np.isfinite(value) for value in values.values())
