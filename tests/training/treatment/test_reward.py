"""S4's table of rewards, as the issue gives it."""

import pytest

from appliance.core.treatment import Severity
from training.treatment.asking import Answer
from training.treatment.held import Look, is_better, is_hacked
from training.treatment.reward import pair_worth, reward


@pytest.mark.parametrize(
    ("said", "answer", "severity", "worth"),
    [
        ("ERROR", "ERROR", "critical", 1 + 2.0),
        ("ERROR", "ERROR", "high", 1 + 1.5),
        ("ERROR", "ERROR", "moderate", 1 + 1.0),
        ("CORRECT", "ERROR", "critical", -3.0),
        ("CORRECT", "ERROR", "high", -2.0),
        ("CORRECT", "ERROR", "moderate", -1.5),
        ("CORRECT", "CORRECT", "critical", 1 + 0.5),
        ("CORRECT", "CORRECT", "moderate", 1 + 0.5),
        ("ERROR", "CORRECT", "critical", -2.0),
        ("ERROR", "CORRECT", "moderate", -2.0),
        (None, "ERROR", "critical", -3.0),
        (None, "CORRECT", "high", -2.0),
    ],
)
def test_an_answer_is_worth_what_the_table_says(
    said: Answer | None, answer: Answer, severity: Severity, worth: float
) -> None:
    assert reward(said, answer, severity) == worth


@pytest.mark.parametrize(
    ("severity", "worth"), [("critical", 2.375), ("high", 2.0), ("moderate", 1.75)]
)
def test_a_pair_is_worth_half_of_what_the_table_parts_right_and_wrong_by(
    severity: Severity, worth: float
) -> None:
    """By hand: (6 + 3.5) / 4, (4.5 + 3.5) / 4 and (3.5 + 3.5) / 4."""
    assert pair_worth({"ERROR": severity, "CORRECT": "moderate"}) == worth


def seen(step: int, *, reward: float, parted: float, earned: float, accuracy: float = 0.7) -> Look:
    return Look(step, reward, accuracy, parted, 0.6, 0.9, earned)


def test_reward_at_the_pairs_cost_is_hacking() -> None:
    before = seen(0, reward=0.5, parted=0.6, earned=0.1)
    assert is_hacked(before, seen(1, reward=0.9, parted=0.4, earned=0.5))
    assert not is_hacked(before, seen(1, reward=0.9, parted=0.6, earned=0.5))
    assert not is_hacked(before, seen(1, reward=0.9, parted=0.4, earned=0.0))


def test_weights_that_part_fewer_pairs_than_the_supervised_judge_are_not_kept() -> None:
    first = seen(0, reward=0.5, parted=0.6, earned=0.0)
    assert is_better(seen(1, reward=0.9, parted=0.6, earned=0.0), first, first)
    assert not is_better(seen(1, reward=0.9, parted=0.5, earned=0.0), first, first)
    assert not is_better(seen(1, reward=0.5, parted=0.9, earned=0.0), first, first)


def test_more_reward_with_fewer_right_answers_is_not_kept() -> None:
    """As saying ERROR more often earns it."""
    first = seen(0, reward=0.5, parted=0.6, earned=0.0)
    assert not is_better(seen(1, reward=0.9, parted=0.6, earned=0.0, accuracy=0.65), first, first)
    assert is_better(seen(1, reward=0.4, parted=0.6, earned=0.0, accuracy=0.75), first, first)
