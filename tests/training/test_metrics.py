"""Claims about the figures, each worked out by hand or taken from a table."""

import numpy as np
import pytest

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
    skin = domain_scores(LABELS, truth, found)["skin"]
    assert skin.images == 6
    assert skin.accuracy == pytest.approx(4 / 6)
    assert skin.accuracy_interval == wilson(4, 6)
    assert skin.recall_by_label == pytest.approx({"nevus": 3 / 4, "melanoma": 1 / 2})
    assert skin.balanced_accuracy == skin.recall == pytest.approx((3 / 4 + 1 / 2) / 2)
    assert skin.precision == pytest.approx((3 / 4 + 1 / 2) / 2)
    assert skin.f1 == pytest.approx((3 / 4 + 1 / 2) / 2)


def test_an_unreadable_answer_counts_as_wrong() -> None:
    skin = domain_scores(LABELS, np.array([0, 0, 1]), np.array([0, -1, -1]))["skin"]
    assert skin.accuracy == pytest.approx(1 / 3)
    assert skin.balanced_accuracy == pytest.approx((1 / 2 + 0) / 2)


def test_a_label_of_another_domain_counts_as_wrong_where_the_truth_is() -> None:
    scores = domain_scores(LABELS, np.array([0, 3]), np.array([3, 3]))
    assert scores["skin"].accuracy == 0
    assert scores["fundus"].accuracy == scores["fundus"].precision == 1


def test_a_label_that_no_picture_has_is_not_averaged_in() -> None:
    skin = domain_scores(LABELS, np.array([0, 1]), np.array([0, 2]))["skin"]
    assert skin.recall_by_label == {"nevus": 1, "melanoma": 0}
    assert skin.balanced_accuracy == 0.5


def test_a_domain_without_pictures_has_no_figures() -> None:
    assert list(domain_scores(LABELS, np.array([0]), np.array([0]))) == ["skin"]


def test_mcnemar_counts_only_the_images_on_which_two_models_differ() -> None:
    before = np.array([True] * 50 + [False] * 20)
    after = np.array([True] * 50 + [True] * 18 + [False] * 2)
    assert mcnemar(before, before) == 1.0
    assert mcnemar(before, after) == pytest.approx(2 * 0.5**18)
    assert mcnemar(before, after) == mcnemar(after, before)


def test_the_interval_of_the_balanced_accuracy_holds_it_and_narrows_with_images() -> None:
    widths = []
    for copies in (10, 1000):
        truth = np.repeat([0, 1], 4 * copies)
        found = np.tile([0, 0, 0, 1], copies).tolist() + np.tile([1, 1, 0, 0], copies).tolist()
        [scores] = domain_scores(LABELS, truth, np.array(found)).values()
        low, high = scores.balanced_accuracy_interval
        assert low < scores.balanced_accuracy == 0.625 < high
        widths.append(high - low)
    assert widths[1] < widths[0] / 5


def test_grades_from_moderate_on_count_as_one_when_merged() -> None:
    labels = label_set()
    names = ["moderate", "severe", "proliferative", "mild"]
    truth = np.array([labels.names.index(f"{name} diabetic retinopathy") for name in names])
    assert len(set(merge_retinopathy(labels, truth).tolist())) == 2
