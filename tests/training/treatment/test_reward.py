"""S4's table of rewards, as the issue gives it."""

import pytest

from appliance.core.treatment import Severity
from training.treatment.asking import Answer
from training.treatment.held import Look, is_better, is_hacked
from training.treatment.reward import reward


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


def seen(step: int, *, reward: float, parted: float, earned: float) -> Look:
    return Look(step, reward, 0.7, parted, 0.6, 0.9, earned)


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
