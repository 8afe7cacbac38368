"""Captions of measured findings, and the way back from the words to the picture."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from appliance.core.caption import caption_json, parse_caption
from appliance.core.labels import DOMAINS, Domain
from tests.training.measured_drawings import Picture, blob, disc, grained, retina, skin_with, thorax
from training.labels import label_set, label_table
from training.measured.caption import (
    MAX_STATED,
    Checked,
    confirmed,
    evidence,
    measured_caption,
    split_phrases,
    stated,
    stated_findings,
)
from training.measured.finding import LEVELS, TOLERANCE, Cut, Cuts, Level, Measure, finding
from training.measured.frame import square
from training.measured.measurement import INSTRUMENTS, measured_findings
from training.measured.thresholds import cuts_of, read_thresholds, thresholds_toml

DRAWN: list[tuple[Domain, str, Picture]] = [
    ("skin", "melanoma", grained(skin_with(blob()))),
    ("skin", "melanocytic nevus", grained(skin_with(disc(80, 80, 18)))),
    ("fundus", "normal fundus", grained(retina())),
    ("fundus", "cataract", grained(0.5 * retina(0) + 60)),
    ("chest", "normal chest", grained(thorax(60))),
    ("chest", "viral pneumonia", grained(thorax(140))),
]
CUTS = Cuts(Cut(1, 2, 3, 0.5), Cut(7, 8, 9, 9.25))


@pytest.mark.parametrize(("domain", "label", "picture"), DRAWN)
def test_a_measured_caption_is_confirmed_whole_by_its_own_picture(
    domain: Domain, label: str, picture: Picture
) -> None:
    caption = measured_caption(label, picture)
    assert caption.label == label
    count = len(split_phrases(caption.key_findings))
    assert count > 0
    assert confirmed(caption, picture, domain) == Checked(count, count, 0)


@pytest.mark.parametrize(("domain", "label", "picture"), DRAWN)
def test_what_a_caption_states_is_what_was_measured(
    domain: Domain, label: str, picture: Picture
) -> None:
    findings = stated(measured_findings(domain, picture))
    caption = measured_caption(label, picture)
    assert stated_findings(caption.key_findings) == {found.name: found.level for found in findings}
    assert 1 <= len(findings) <= MAX_STATED


def test_the_same_picture_always_has_the_same_caption() -> None:
    _, label, picture = DRAWN[0]
    assert measured_caption(label, picture) == measured_caption(label, picture.copy())


def test_what_a_label_means_clinically_comes_from_the_label_table() -> None:
    significance = {row.name: row.caption.clinical_significance for row in label_table()}
    for _, label, picture in DRAWN:
        assert measured_caption(label, picture).clinical_significance == significance[label]


def test_a_measured_caption_is_a_caption() -> None:
    for _, label, picture in DRAWN:
        caption = measured_caption(label, picture)
        assert parse_caption(caption_json(caption), label_set()) == caption


def test_a_finding_of_the_opposite_level_is_not_confirmed() -> None:
    domain, label, picture = DRAWN[0]
    caption = measured_caption(label, picture)
    opposite: dict[Level, Level] = {"low": "high", "high": "low", "middle": "middle"}
    phrases = {measure.name: measure.phrases for measure in INSTRUMENTS[domain].measures}
    turned = [
        phrases[found.name][LEVELS.index(opposite[found.level])]
        for found in stated(measured_findings(domain, picture))
    ]
    wrong = replace(caption, key_findings=", ".join(turned))
    assert confirmed(wrong, picture, domain) == Checked(len(turned), 0, 0)


def test_another_domains_phrase_is_never_confirmed_and_one_that_is_not_ours_counts_apart() -> None:
    _, label, picture = DRAWN[0]
    caption = replace(
        measured_caption(label, picture), key_findings="a purple halo, wide heart shadow"
    )
    assert confirmed(caption, picture, "skin") == Checked(stated=1, confirmed=0, unknown=1)
    assert stated_findings(caption.key_findings) == {"heart": "high"}


def test_a_level_is_confirmed_within_the_band_beside_its_cut_and_not_beyond() -> None:
    assert CUTS.level(2.5) == "middle"
    assert CUTS.agrees("low", 2.5) and not CUTS.agrees("low", 3.5)
    assert CUTS.agrees("high", 7.5) and not CUTS.agrees("high", 6.5)
    assert CUTS.agrees("middle", 1.5) and not CUTS.agrees("middle", 0.5)


def test_a_finding_that_is_not_clear_is_stated_only_where_none_is() -> None:
    measure = Measure("width", "mm", "ruler", ("narrow", "average", "wide"))
    near, far, middle = (finding(measure, CUTS, value) for value in (0.75, 9.5, 5.0))
    assert near.level == "low"
    assert stated([near, middle, far]) == (far,)
    assert stated([near, middle]) == (middle,)  # the most ordinary


def test_cut_points_are_the_quantiles_they_are_said_to_be() -> None:
    measure = Measure("m", "u", "s", ("a", "b", "c"), quantiles=(0.4, 0.8))
    cuts = cuts_of(measure, np.linspace(0, 1, 1001))
    assert cuts == Cuts(Cut(0.35, 0.4, 0.45, 0.3), Cut(0.75, 0.8, 0.85, 0.9))
    assert TOLERANCE == 0.05


def test_the_committed_cut_points_cover_every_measure_in_order() -> None:
    thresholds = read_thresholds()
    for domain in DOMAINS:
        assert list(thresholds[domain]) == [m.name for m in INSTRUMENTS[domain].measures]
        for cuts in thresholds[domain].values():
            low, high = cuts.low, cuts.high
            assert low.below <= low.at <= low.above < high.below <= high.at <= high.above


def test_the_table_is_written_as_it_is_read() -> None:
    committed = Path(__file__).parents[2] / "training" / "measured" / "thresholds.toml"
    assert thresholds_toml(read_thresholds()) == committed.read_text(encoding="utf-8")


def test_the_vocabulary_is_closed_and_small() -> None:
    measures = [measure for domain in DOMAINS for measure in INSTRUMENTS[domain].measures]
    phrases = [phrase for measure in measures for phrase in measure.phrases]
    assert len(set(phrases)) == len(phrases), "a phrase must say one thing"
    assert not any("," in phrase for phrase in phrases)
    words = {word for phrase in phrases for word in phrase.split()}
    for row in label_table():
        caption = row.caption
        words |= set(f"{row.name} {caption.clinical_significance}".split())
        words |= set(f"{caption.image_type} {caption.anatomical_region}".split())
    assert len(words) < 250


def test_every_finding_is_traceable_to_its_number_and_method() -> None:
    for domain, _, picture in DRAWN:
        findings = measured_findings(domain, picture)
        lines = evidence(findings).splitlines()
        assert len(lines) == len(INSTRUMENTS[domain].measures)
        for found, line in zip(findings, lines, strict=True):
            assert found.sentence in line and found.method in line and found.unit in line


def test_a_picture_of_another_size_is_measured_on_the_same_square() -> None:
    large = np.kron(DRAWN[0][2], np.ones((2, 3, 1), np.uint8))
    assert square(large).shape == square(DRAWN[0][2]).shape
    assert measured_caption("melanoma", large).label == "melanoma"


def test_what_is_no_rgb_picture_is_refused() -> None:
    with pytest.raises(ValueError, match="not an RGB image"):
        measured_caption("melanoma", np.zeros((160, 160), np.uint8))
    with pytest.raises(KeyError, match="gout"):
        measured_caption("gout", DRAWN[0][2])
