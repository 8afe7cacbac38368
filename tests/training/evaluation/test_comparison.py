"""Claims about two evaluations side by side."""

from dataclasses import replace
from pathlib import Path

import pytest

from appliance.core.calibration import wilson
from tests.training.evaluation.answering import answered, header
from training.evaluation.answered import AnsweredImage, Evaluation, EvaluationError
from training.evaluation.comparison import MEASURES, compare
from training.evaluation.table import comparison_lines
from training.measured.caption import Checked
from training.metrics import mcnemar


def evaluation(images: list[AnsweredImage], model: str) -> Evaluation:
    return Evaluation(header(len(images), model), tuple(images))


def skin(right: range, of: int = 30) -> list[AnsweredImage]:
    """Melanomas, of which those in `right` are found."""
    return [
        answered(
            row,
            "melanoma",
            "melanoma" if row in right else "dermatofibroma",
            findings=Checked(2, 1 + (row in right), 0),
        )
        for row in range(of)
    ]


BEFORE, AFTER = evaluation(skin(range(5)), "base"), evaluation(skin(range(3, 25)), "tuned")


def test_each_measure_stands_before_and_after_with_its_interval() -> None:
    row = compare(BEFORE, AFTER)["domains"]["skin"]
    assert row["images"] == 30
    assert set(row["measures"]) == set(MEASURES)
    accuracy = row["measures"]["accuracy"]
    assert accuracy["before"] == {"value": 5 / 30, "interval": pytest.approx(wilson(5, 30))}
    assert accuracy["after"] == {"value": 22 / 30, "interval": pytest.approx(wilson(22, 30))}
    for sides in row["measures"].values():
        for side in sides.values():
            assert side["interval"][0] <= side["value"] <= side["interval"][1]


def test_mcnemar_counts_the_images_gained_and_lost() -> None:
    import numpy as np

    found = compare(BEFORE, AFTER)["domains"]["skin"]["mcnemar"]
    assert (found["gained"], found["lost"]) == (20, 3)
    before, after = (np.array([row in r for row in range(30)]) for r in (range(5), range(3, 25)))
    assert found["p"] == pytest.approx(mcnemar(before, after, np.arange(30).astype(str)))


def test_images_of_one_patient_do_not_count_as_so_many_changes() -> None:
    def twice(images: tuple[AnsweredImage, ...]) -> list[AnsweredImage]:
        return [replace(i, row=i.row + more) for i in images for more in (0, 100)]

    once = compare(BEFORE, AFTER)["domains"]["skin"]
    doubled = compare(
        evaluation(twice(BEFORE.images), "base"), evaluation(twice(AFTER.images), "tuned")
    )["domains"]["skin"]
    assert doubled["mcnemar"] == {"p": once["mcnemar"]["p"], "gained": 40, "lost": 6}
    for measure, sides in once["measures"].items():
        for side, each in sides.items():
            assert doubled["measures"][measure][side]["interval"] == pytest.approx(each["interval"])


def test_the_order_of_the_images_does_not_matter() -> None:
    turned = replace(AFTER, images=AFTER.images[::-1])
    assert compare(BEFORE, turned) == compare(BEFORE, AFTER)


def test_findings_and_the_worst_grades_as_one_are_compared_too() -> None:
    grades = ("moderate", "severe")
    eyes = [answered(r, f"{g} diabetic retinopathy", "cataract") for r, g in enumerate(grades)]
    better = [replace(eye, found="severe diabetic retinopathy") for eye in eyes]
    found = compare(
        evaluation([*BEFORE.images, *eyes], "base"), evaluation([*AFTER.images, *better], "tuned")
    )
    assert found["fundus_grades_merged"]["mcnemar"]["gained"] == 2
    assert found["domains"]["fundus"]["mcnemar"]["gained"] == 1
    skin_findings = found["findings"]["skin"]
    assert (skin_findings["before"]["confirmed"], skin_findings["after"]["confirmed"]) == (35, 52)
    printed = "\n".join(comparison_lines(found))
    assert "base -> tuned, 32 images of the split test" in printed
    assert "skin: n 30, McNemar p = 0.00049 (20 gained, 3 lost)" in printed
    assert "accuracy           0.167 (0.073-0.336) -> 0.733 (0.556-0.858)" in printed


@pytest.mark.parametrize(
    "after",
    [
        evaluation(skin(range(3), of=29), "fewer"),
        evaluation([*skin(range(3), of=29), answered(99, "melanoma", "melanoma")], "another"),
        evaluation([*skin(range(3), of=29), answered(29, "vascular lesion", "melanoma")], "label"),
    ],
)
def test_other_images_are_not_compared(after: Evaluation) -> None:
    with pytest.raises(EvaluationError, match=r"not the same images: 30 before.*ham10000, row 29"):
        compare(BEFORE, after)


def test_other_label_lists_are_not_compared() -> None:
    shorter = replace(
        AFTER,
        header=replace(
            AFTER.header, labels=AFTER.header.labels[:-1], domains=AFTER.header.domains[:-1]
        ),
    )
    with pytest.raises(EvaluationError, match="base and tuned answer from different label lists"):
        compare(BEFORE, shorter)


def test_a_model_compared_with_itself_has_no_difference(tmp_path: Path) -> None:
    row = compare(BEFORE, BEFORE)["domains"]["skin"]
    assert row["mcnemar"] == {"p": 1.0, "gained": 0, "lost": 0}
