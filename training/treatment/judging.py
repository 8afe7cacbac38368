"""How likely a judge finds each verdict of a question, over every label it may name.

It names the treatment first, greedily. What follows is not sampled: the likelihoods of all its
possible answers, of which there are two a label, are added up. They branch off one prompt, so a
question costs little more than its prompt.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
from numpy.typing import NDArray

from appliance.core.prompt import END_OF_TURN
from training.adapted import Adapted, continued, pixel_values
from training.conversation import text_ids
from training.qlora.packing import pack, pack_loss
from training.treatment.asking import (
    LABEL,
    Answer,
    judge_answers,
    judge_ids,
    label_and_verdict,
    label_opening,
)

if TYPE_CHECKING:
    import torch

ANSWERS: tuple[Answer, ...] = get_args(Answer)

AT_ONCE = 16
"""Questions whose treatment is named together."""
LONGEST_NAME = 32
"""Tokens."""


@dataclass(frozen=True)
class Question:
    """Words of one picture, (side, side, 3) as at the clinic."""

    finding: str
    treatment: str
    labels: tuple[str, ...]
    """Those it may name: the domain's."""
    square: NDArray[np.uint8]


@dataclass(frozen=True)
class Judged:
    """What a judge makes of one question."""

    named: str
    """The treatment, as it read it."""
    error: float
    """Probability of ERROR, against CORRECT."""
    labels: Mapping[str, float]
    """Probability of each label that it may name."""

    @property
    def verdict(self) -> Answer:
        return "ERROR" if self.error > 0.5 else "CORRECT"


def judge_questions(judge: Adapted, questions: Sequence[Question]) -> list[Judged]:
    return [
        _judged(judge, question, named)
        for first in range(0, len(questions), AT_ONCE)
        for batch in [questions[first : first + AT_ONCE]]
        for question, named in zip(batch, names_read(judge, batch), strict=True)
    ]


def names_read(judge: Adapted, questions: Sequence[Question]) -> list[str]:
    """The treatment each question's words name, as the judge reads it; empty when it names none."""
    tokenizer, length = judge.tokenizer, judge.model.config.mm_tokens_per_image
    opening = label_opening([]).removesuffix(LABEL)
    prompts = [
        [*judge_ids(tokenizer, length, q.finding, q.treatment), *text_ids(tokenizer, opening)]
        for q in questions
    ]
    said = continued(judge, prompts, [q.square for q in questions], LONGEST_NAME)
    texts = tokenizer.batch_decode(said)
    return [text.partition(LABEL)[0] if LABEL in text else "" for text in texts]


def _judged(judge: Adapted, question: Question, named: str) -> Judged:
    features = soft_tokens(judge.model, question.square)
    prompt = judge_ids(judge.tokenizer, len(features), question.finding, question.treatment)
    possible = [(label, answer) for label in question.labels for answer in ANSWERS]
    answers = [label_and_verdict(label, answer) + END_OF_TURN for label, answer in possible]
    shares = answer_shares(judge, prompt, label_opening([named]), answers, features)
    by_label = dict.fromkeys(question.labels, 0.0)
    error = 0.0
    for (label, answer), share in zip(possible, shares, strict=True):
        by_label[label] += share
        error += share if answer == "ERROR" else 0.0
    return Judged(named, error, by_label)


def soft_tokens(model: Any, square: NDArray[np.uint8]) -> "torch.Tensor":
    """Of one picture, (side, side, 3), as the decoder sees it: (image tokens, text width)."""
    import torch

    pixels = pixel_values(model, [square])
    with torch.no_grad():
        found: torch.Tensor = model.get_image_features(pixels).pooler_output[0]
    return found


def answer_shares(
    judge: Adapted,
    prompt: Sequence[int],
    opening: str,
    answers: Sequence[str],
    features: "torch.Tensor",
) -> list[float]:
    """Probability of each of these answers after their opening, against the others."""
    import torch

    lesson = judge_answers(judge.tokenizer, prompt, opening, answers)
    window = judge.model.config.text_config.sliding_window
    row = pack([lesson], window, features.device)
    answer_of = torch.tensor(lesson.branch, device=features.device)[
        torch.tensor(lesson.weights) > 0
    ]
    with torch.no_grad():
        losses = pack_loss(judge.model, replace(row, owner=answer_of), features[None])
    shares: list[float] = torch.softmax(-losses.double(), 0).tolist()
    return shares
