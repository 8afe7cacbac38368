"""Skin measures on drawn lesions."""

import numpy as np

from tests.training.measured_drawings import blob, disc, grained, skin_with
from training.measured.lesion import find_lesion
from training.measured.skin import measure_skin


def test_the_lesion_found_is_the_lesion_drawn() -> None:
    drawn = disc(80, 80, 30)
    found = find_lesion(grained(skin_with(drawn))).inside
    assert (found & drawn).sum() / (found | drawn).sum() > 0.9


def test_hairs_and_a_dark_rim_are_not_the_lesion() -> None:
    drawn = disc(80, 80, 30)
    picture = skin_with(drawn)
    picture[:, 40:42] = picture[:, 110:112] = 30
    picture[~disc(79.5, 79.5, 90)] = 10
    found = find_lesion(grained(picture)).inside
    assert (found & drawn).sum() / (found | drawn).sum() > 0.85


def test_light_that_falls_off_outwards_is_not_a_lesion() -> None:
    drawn = disc(80, 80, 14)
    rows, columns = np.mgrid[-1:1:160j, -1:1:160j]
    picture = skin_with(drawn) * (1 - 0.3 * (rows**2 + columns**2) / 2)[..., None]
    found = find_lesion(grained(picture)).inside
    assert (found & drawn).sum() / (found | drawn).sum() > 0.7


def test_a_blob_is_less_symmetric_than_a_disc() -> None:
    round_one = measure_skin(grained(skin_with(disc(80, 80, 30))))
    odd_one = measure_skin(grained(skin_with(blob())))
    assert odd_one["asymmetry"] > 2 * round_one["asymmetry"]


def test_a_turned_blob_measures_the_same() -> None:
    upright = measure_skin(grained(skin_with(blob())))
    turned = measure_skin(grained(np.rot90(skin_with(blob()))))
    for name, value in upright.items():
        assert abs(turned[name] - value) <= 0.05 * abs(value) + 0.02, name


def test_an_oblique_ellipse_is_symmetric_about_its_own_axes() -> None:
    rows, columns = np.mgrid[-80:80, -80:80]
    ellipse = ((rows + columns) / 45) ** 2 + ((rows - columns) / 75) ** 2 < 1
    assert measure_skin(grained(skin_with(ellipse)))["asymmetry"] < 0.1


def test_a_second_colour_raises_the_spread_of_colours() -> None:
    plain = skin_with(disc(80, 80, 30))
    spotted = plain.copy()
    spotted[disc(80, 90, 12)] = (70, 90, 130)
    assert measure_skin(grained(spotted))["colours"] > 2 * measure_skin(grained(plain))["colours"]


def test_darkness_and_size_rise_with_what_is_drawn() -> None:
    faint = measure_skin(grained(skin_with(disc(80, 80, 20), (170, 120, 100))))
    dark = measure_skin(grained(skin_with(disc(80, 80, 40), (60, 40, 35))))
    assert dark["pigment"] > 2 * faint["pigment"]
    assert 1.7 < dark["diameter"] / faint["diameter"] < 2.3


def test_an_edge_that_fades_is_no_abrupt_cut_off() -> None:
    rows, columns = np.mgrid[-80:80, -80:80]
    fade = np.exp(-np.hypot(rows, columns) / 22)[..., None]
    sharp = skin_with(disc(80, 80, 30))
    fading = skin_with(disc(80, 80, 0)) * (1 - 0.7 * fade)
    assert measure_skin(grained(sharp))["edge"] > 1.2 * measure_skin(grained(fading))["edge"]


def test_plain_skin_is_measured_without_failing() -> None:
    values = measure_skin(grained(skin_with(disc(80, 80, 0))))
    assert all(np.isfinite(value) for value in values.values())
