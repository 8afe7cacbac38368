"""Claims about the figures, on answers made up by hand."""

import json

import pytest

from appliance.core.calibration import calibration_error, wilson
from tests.training.evaluation.answering import LABELS, answered, caption_of
from training.evaluation.figures import evaluate
from training.evaluation.reliability import reliability
from training.evaluation.table import figure_lines
from training.measured.caption import Checked


def test_the_figures_count_labels_domains_and_captions_that_parse() -> None:
    caption = caption_of("melanoma")
    figures = evaluate(
        LABELS,
        [
            answered(1, "melanoma", "melanoma", text=caption),
            answered(2, "cataract", "glaucoma", text=caption[:-3]),
            answered(3, "normal chest", "melanoma", text='{"label": "melanoma"}'),
            answered(4, "normal chest", "normal chest", text='{"label": "gout"}'),
        ],
    )
    assert figures["images"] == 4
    assert figures["json_valid"] == pytest.approx(1 / 4)
    assert figures["label_in_list"] == pytest.approx(2 / 4)
    assert figures["domain_right"] == pytest.approx(3 / 4)
    accuracy = {domain: row["accuracy"] for domain, row in figures["domains"].items()}
    assert accuracy == {"skin": 1, "fundus": 0, "chest": 0.5}


def test_findings_are_counted_by_domain_with_the_interval_of_a_share() -> None:
    figures = evaluate(
        LABELS,
        [
            answered(1, "melanoma", "melanoma", findings=Checked(4, 3, 0)),
            answered(2, "melanoma", "melanocytic nevus", findings=Checked(4, 4, 0)),
            answered(3, "cataract", "cataract", findings=Checked(0, 0, 0)),
        ],
    )["findings"]
    assert figures["skin"] == {
        "stated": 8,
        "confirmed": 7,
        "unknown": 0,
        "share": 7 / 8,
        "share_interval": pytest.approx(wilson(7, 8)),
    }
    assert figures["fundus"]["share"] is figures["fundus"]["share_interval"] is None


def test_words_that_nothing_here_can_check_are_no_refuted_findings() -> None:
    figures = evaluate(
        LABELS,
        [
            answered(1, "melanoma", "melanoma", findings=Checked(2, 1, 2)),
            answered(2, "cataract", "cataract", findings=Checked(0, 0, 5)),
        ],
    )
    found = figures["findings"]
    assert (found["skin"]["share"], found["skin"]["unknown"]) == (0.5, 2)
    assert (found["fundus"]["share"], found["fundus"]["unknown"]) == (None, 5)
    printed = "\n".join(figure_lines(figures))
    assert "confirmed 0 of 0: none; 5 in other words" in printed


def test_strata_are_measured_apart_and_small_ones_named_instead() -> None:
    women = [
        answered(row, "melanoma", "melanoma" if row < 6 else "dermatofibroma", strata={"sex": "f"})
        for row in range(8)
    ] + [
        answered(row, "dermatofibroma", "dermatofibroma", strata={"sex": "f", "age": "80+"})
        for row in range(8, 24)
    ]
    men = [
        answered(row, "melanoma", "dermatofibroma", strata={"sex": "m", "age": "0-19"})
        for row in range(24, 43)
    ]
    figures = evaluate(LABELS, [*women, *men])
    assert figures["strata"] == {
        "skin": {
            "sex": {
                "f": {
                    "images": 24,
                    "accuracy": 22 / 24,
                    "accuracy_interval": pytest.approx(wilson(22, 24)),
                    "balanced_accuracy": pytest.approx((6 / 8 + 1) / 2),
                }
            }
        }
    }
    assert figures["strata_left_out"] == [
        {"domain": "skin", "stratum": "age", "value": "0-19", "images": 19},
        {"domain": "skin", "stratum": "age", "value": "80+", "images": 16},
        {"domain": "skin", "stratum": "sex", "value": "m", "images": 19},
    ]
    printed = "\n".join(figure_lines(figures))
    assert "skin, accuracy by sex          f 0.917 (n 24)" in printed
    assert "3 strata of too few images are left out" in printed


def test_fundus_is_measured_with_its_worst_grades_as_one_too() -> None:
    grades = ["moderate", "severe", "proliferative"]
    images = [
        answered(row, f"{grade} diabetic retinopathy", "moderate diabetic retinopathy")
        for row, grade in enumerate(grades)
    ]
    figures = evaluate(LABELS, images)
    assert figures["domains"]["fundus"]["accuracy"] == pytest.approx(1 / 3)
    assert figures["fundus_grades_merged"]["accuracy"] == 1
    assert evaluate(LABELS, [answered(0, "melanoma", "melanoma")])["fundus_grades_merged"] is None


def test_the_figures_are_json_that_any_reader_takes() -> None:
    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    written = json.dumps(evaluate(LABELS, [answered(0, "melanoma", "cataract")]))
    json.loads(written, parse_constant=refuse)


def test_reliability_is_how_often_the_likeliest_label_is_right() -> None:
    images = [answered(row, "melanoma", "melanoma" if row < 3 else "cataract") for row in range(4)]
    (found,) = reliability(images, temperature=1.0)
    assert (found.images, found.accuracy) == (4, 0.75)
    assert found.low <= found.confidence <= found.high
    assert calibration_error([found]) == pytest.approx(abs(0.75 - found.confidence))
    (softer,) = reliability(images, temperature=100.0)
    assert softer.confidence == pytest.approx(1 / len(LABELS), abs=0.01)
