"""How the judge is asked, and how it answers.

It first names the treatment as the rule book does, then says what the picture shows, in the
caption's own words for it, and then its verdict. So it learns to read the words and to look apart
from each other, and a verdict can be traced to both.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from appliance.core.prompt import END_OF_TURN, IMAGE, PERSONA
from training.conversation import Conversation, ids_around_image, text_ids

Answer = Literal["ERROR", "CORRECT"]
LABEL = '", "label": "'
"""Between the treatment and the label of an answer."""


def question(finding: str, treatment: str) -> str:
    """What is asked of the picture, after it."""
    return f"Finding: {finding}\nTreatment: {treatment}\nDoes the treatment fit this image?"


def judge_prompt(finding: str, treatment: str) -> tuple[str, str]:
    """The prompt before and after the image's soft tokens, marks included; laid out as the
    caption's."""
    return (
        f"<start_of_turn>user\n{PERSONA}\n\n\n\n{IMAGE}",
        f"<end_of_image>\n\n{question(finding, treatment)}{END_OF_TURN}\n<start_of_turn>model\n",
    )


def label_opening(named: Sequence[str]) -> str:
    """The answer's text up to its label; `named`: the treatments, as the rule book names them."""
    return f'{{"treatment": "{", ".join(named)}{LABEL}'


def verdict_opening(label: str) -> str:
    """From the label up to the verdict."""
    return f'{label}", "verdict": "'


def label_and_verdict(label: str, answer: Answer) -> str:
    """From the label to the answer's end."""
    return f'{verdict_opening(label)}{answer}"}}'


def judge_lesson(
    tokenizer: Any,
    image_tokens: int,
    finding: str,
    treatment: str,
    named: Sequence[str],
    right: Mapping[str, Answer],
    label: str,
) -> Conversation:
    """The question with an answer for each label that the rules speak of.

    Of the image's own `label` the whole answer is learnt; of the others the verdict: what it would
    be, were that the label. So the same words are seen with both verdicts at once.
    Raises: ValueError when the tokenizer joins what is learnt to what is not.
    """
    lesson = _Lesson(tokenizer, judge_ids(tokenizer, image_tokens, finding, treatment))
    opening = text_ids(tokenizer, label_opening(named))
    lesson.add(-1, opening, 1.0)
    for branch, (each, answer) in enumerate(right.items()):
        until = text_ids(tokenizer, verdict_opening(each))
        own = each == label
        ends = label_and_verdict(each, answer) + END_OF_TURN + "\n"
        ids = text_ids(tokenizer, ends if own else verdict_opening(each) + answer)
        whole = text_ids(tokenizer, label_opening(named) + verdict_opening(each))
        if ids[: len(until)] != until or whole != [*opening, *until]:
            raise ValueError(f"the tokenizer joins a quote to its word: {named!r}, {each!r}")
        lesson.add(branch, until, 1.0 if own else 0.0)
        lesson.add(branch, ids[len(until) :], 1.0)
    return lesson.conversation()


def judge_answers(
    tokenizer: Any, prompt: Sequence[int], opening: str, answers: Sequence[str]
) -> Conversation:
    """A prompt, the opening that its answers share, and these, of which every token counts 1."""
    lesson = _Lesson(tokenizer, prompt)
    lesson.add(-1, text_ids(tokenizer, opening), 0.0)
    for branch, answer in enumerate(answers):
        lesson.add(branch, text_ids(tokenizer, answer), 1.0)
    return lesson.conversation()


class _Lesson:
    """A conversation with several answers, as it grows."""

    def __init__(self, tokenizer: Any, prompt: Sequence[int]) -> None:
        self.soft = tokenizer.convert_tokens_to_ids("<image_soft_token>")
        self.ids: list[int] = []
        self.weights: list[float] = []
        self.branch: list[int] = []
        self.add(-1, prompt, 0.0)

    def add(self, branch: int, ids: Sequence[int], weight: float) -> None:
        self.ids += ids
        self.weights += [weight] * len(ids)
        self.branch += [branch] * len(ids)

    def conversation(self) -> Conversation:
        is_image = tuple(token == self.soft for token in self.ids)
        return Conversation(tuple(self.ids), tuple(self.weights), is_image, tuple(self.branch))


def judge_ids(tokenizer: Any, image_tokens: int, finding: str, treatment: str) -> list[int]:
    """The rendered prompt with its soft tokens, beginning-of-sequence first."""
    return ids_around_image(tokenizer, image_tokens, *judge_prompt(finding, treatment))


def answered(text: str) -> tuple[str, Answer] | None:
    """Label and verdict of an answer, or None for what is no answer."""
    try:
        said = json.loads(text.removesuffix("\n").removesuffix(END_OF_TURN))
    except json.JSONDecodeError:
        return None
    if not isinstance(said, dict) or tuple(said) != ("treatment", "label", "verdict"):
        return None
    if said["verdict"] not in ("ERROR", "CORRECT"):
        return None
    return str(said["label"]), said["verdict"]
