"""Questions the judge is never optimised on, looked at while it is: pairs, of one wording each.

A judge that earns more reward by saying one word of every picture gives both pictures of a pair
the same answer. So the share of pairs with two answers falls while the reward rises: that is where
to stop.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from training.adapted import Adapted
from training.labels import label_set
from training.looks import AfterSteps
from training.treatment.drawing import Drawn
from training.treatment.judging import Question, judge_questions
from training.treatment.reward import reward


@dataclass(frozen=True)
class Look(AfterSteps):
    """At the held pairs."""

    reward: float
    """Mean, of the likelier word of each question."""
    accuracy: float
    parted: float
    """Share of the pairs in which the two images get different answers."""
    label_accuracy: float
    """Share of the questions whose likeliest label is the image's."""
    named: float
    """Share of the questions whose treatment is named as the rule book does."""
    earned: float
    """Mean reward of the answers drawn in training since the look before; 0 at the first."""


def look(
    judge: Adapted,
    pairs: Sequence[tuple[Drawn, Drawn]],
    picture: Callable[[int], NDArray[np.uint8]],
    step: int,
    earned: float,
) -> Look:
    """`picture`: an image, (side, side, 3), by its number."""
    asked = [one for pair in pairs for one in pair]
    said = judge_questions(
        judge,
        [
            Question(
                one.asked.finding,
                one.asked.treatment,
                label_set().in_domain(one.asked.domain),
                picture(one.image),
            )
            for one in asked
        ],
    )
    verdicts = [each.verdict for each in said]
    rewards = [
        reward(verdict, one.answer, one.severity)
        for verdict, one in zip(verdicts, asked, strict=True)
    ]
    likeliest = [max(each.labels, key=each.labels.__getitem__) for each in said]
    return Look(
        step=step,
        reward=sum(rewards) / len(rewards),
        accuracy=sum(v == one.answer for v, one in zip(verdicts, asked, strict=True)) / len(asked),
        parted=sum(a != b for a, b in zip(verdicts[::2], verdicts[1::2], strict=True)) / len(pairs),
        label_accuracy=sum(n == one.label for n, one in zip(likeliest, asked, strict=True))
        / len(asked),
        named=sum(
            each.named == ", ".join(one.asked.named) for each, one in zip(said, asked, strict=True)
        )
        / len(asked),
        earned=earned,
    )


def is_hacked(before: Look, after: Look) -> bool:
    """Whether reward was earned at the pairs' cost since the look before."""
    return after.earned > before.earned and after.parted < before.parted


def times_hacked(looks: Sequence[Look]) -> int:
    """The first look comes before any reward, and is not counted."""
    return sum(is_hacked(before, after) for before, after in pairwise(looks[1:]))


def is_better(after: Look, best: Look, first: Look) -> bool:
    """Whether these weights are to be kept: more questions right than by the best so far, or as
    many and more reward, and the pairs told apart no less than by the supervised judge. Reward
    alone would choose whoever says ERROR more often."""
    better = (after.accuracy, after.reward) > (best.accuracy, best.reward)
    return better and after.parted >= first.parted
