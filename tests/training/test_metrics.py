"""Claims about the figures, each worked out by hand or taken from a table."""

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from appliance.core.calibration import wilson
from appliance.core.labels import Label, LabelSet
from training.labels import label_set
from training.metrics import domain_scores, mcnemar, merge_retinopathy

LABELS = LabelSet(
    (
        Label("nevus", "skin"),
        Label("melanoma", "skin"),
        Label("keratosis", "skin"),
        Label("cataract", "fundus"),
    )
)


def alone(images: int) -> NDArray[np.str_]:
    """Each image is of a patient of its own."""
    return np.arange(images).astype(str)


@pytest.mark.parametrize(
    ("correct", "total", "low", "high"),
    [
        (29, 68, 0.316, 0.545),
        (0, 10, 0.0, 0.278),
        (10, 10, 0.722, 1.0),
        (81, 263, 0.255, 0.366),  # Newcombe 1998, table I
        (15, 148, 0.062, 0.160),  # Newcombe 1998, table I
    ],
)
def test_wilsons_interval_is_the_published_one(
    correct: int, total: int, low: float, high: float
) -> None:
    assert wilson(correct, total) == pytest.approx((low, high), abs=6e-4)


def test_a_domains_figures_are_those_worked_out_by_hand() -> None:
    truth = np.array([0, 0, 0, 0, 1, 1])
    found = np.array([0, 0, 0, 1, 1, 0])
    skin = domain_scores(LABELS, truth, found, alone(6))["skin"]
    assert skin.images == 6
    assert skin.accuracy == pytest.approx(4 / 6)
    assert skin.accuracy_interval == pytest.approx(wilson(4, 6))
    assert skin.recall_by_label == pytest.approx({"nevus": 3 / 4, "melanoma": 1 / 2})
    assert skin.balanced_accuracy == skin.recall == pytest.approx((3 / 4 + 1 / 2) / 2)
    assert skin.precision == pytest.approx((3 / 4 + 1 / 2) / 2)
    assert skin.f1 == pytest.approx((3 / 4 + 1 / 2) / 2)


def test_an_unreadable_answer_counts_as_wrong() -> None:
    skin = domain_scores(LABELS, np.array([0, 0, 1]), np.array([0, -1, -1]), alone(3))["skin"]
    assert skin.accuracy == pytest.approx(1 / 3)
    assert skin.balanced_accuracy == pytest.approx((1 / 2 + 0) / 2)


def test_a_label_of_another_domain_counts_as_wrong_where_the_truth_is() -> None:
    scores = domain_scores(LABELS, np.array([0, 3]), np.array([3, 3]), alone(2))
    assert scores["skin"].accuracy == 0
    assert scores["fundus"].accuracy == scores["fundus"].precision == 1


def test_a_label_that_no_picture_has_is_not_averaged_in() -> None:
    skin = domain_scores(LABELS, np.array([0, 1]), np.array([0, 2]), alone(2))["skin"]
    assert skin.recall_by_label == {"nevus": 1, "melanoma": 0}
    assert skin.balanced_accuracy == 0.5


def test_a_domain_without_pictures_has_no_figures() -> None:
    assert list(domain_scores(LABELS, np.array([0]), np.array([0]), alone(1))) == ["skin"]


def test_mcnemar_counts_only_the_images_on_which_two_models_differ() -> None:
    before = np.array([True] * 50 + [False] * 20)
    after = np.array([True] * 50 + [True] * 18 + [False] * 2)
    assert mcnemar(before, before, alone(70)) == 1.0
    gained = 69 / 70 * 18**2 / 18  # chi-square of one degree of freedom: z is its root
    assert mcnemar(before, after, alone(70)) == pytest.approx(math.erfc(math.sqrt(gained / 2)))
    assert mcnemar(before, after, alone(70)) == mcnemar(after, before, alone(70))


def test_mcnemar_by_patients_is_the_one_worked_out_by_hand() -> None:
    """Changes of +2, +1, 0 and -1 in four patients: 3/4 x 2 squared over 4 + 1 + 0 + 1 is 0.5."""
    before = np.array([False, False, False, True, True])
    after = np.array([True, True, True, True, False])
    groups = np.array(["a", "a", "b", "c", "d"])
    assert mcnemar(before, after, groups) == pytest.approx(math.erfc(math.sqrt(0.5 / 2)))


def test_images_taken_again_of_the_same_patients_add_no_certainty() -> None:
    truth = np.repeat([0, 1], 40)
    found = np.tile([0, 0, 0, 1, 1], 16)
    once, again = (
        domain_scores(LABELS, np.tile(truth, n), np.tile(found, n), np.tile(alone(80), n))["skin"]
        for n in (1, 4)
    )
    for name in ("accuracy", "balanced_accuracy", "precision", "f1"):
        assert getattr(again, name) == getattr(once, name)
        limits = f"{name}_interval"
        assert getattr(again, limits) == pytest.approx(getattr(once, limits))
    for name, interval in once.recall_interval_by_label.items():
        assert again.recall_interval_by_label[name] == pytest.approx(interval)
    before, after = truth == 0, found == 0
    assert mcnemar(np.tile(before, 4), np.tile(after, 4), np.tile(alone(80), 4)) == pytest.approx(
        mcnemar(before, after, alone(80))
    )


def test_a_patient_with_images_of_two_labels_keeps_every_label_in_each_draw() -> None:
    truth, found = np.array([0, 1, 0]), np.array([0, 1, 1])
    skin = domain_scores(LABELS, truth, found, np.array(["a", "a", "b"]))["skin"]
    low, high = skin.balanced_accuracy_interval
    assert (low, high) == (0.5, 1.0)  # melanoma's one image is drawn each time


def test_the_interval_of_the_balanced_accuracy_holds_it_and_narrows_with_images() -> None:
    widths = []
    for copies in (10, 1000):
        truth = np.repeat([0, 1], 4 * copies)
        found = np.tile([0, 0, 0, 1], copies).tolist() + np.tile([1, 1, 0, 0], copies).tolist()
        [scores] = domain_scores(LABELS, truth, np.array(found), alone(len(found))).values()
        low, high = scores.balanced_accuracy_interval
        assert low < scores.balanced_accuracy == 0.625 < high
        widths.append(high - low)
    assert widths[1] < widths[0] / 5


def test_grades_from_moderate_on_count_as_one_when_merged() -> None:
    labels = label_set()
    names = ["moderate", "severe", "proliferative", "mild"]
    truth = np.array([labels.names.index(f"{name} diabetic retinopathy") for name in names])
    assert len(set(merge_retinopathy(labels, truth).tolist())) == 2
