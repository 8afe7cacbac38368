"""Claims about the figures, each worked out by hand or taken from a table."""

import numpy as np
import pytest

from appliance.core.labels import Label, LabelSet
from training.metrics import domain_scores, wilson

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
