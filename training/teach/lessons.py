"""What a teaching run made: captions kept, images rejected, each with where it came from.

Every image asked about is in exactly one of the two. Knows nothing of how it was asked.
"""

from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any

from appliance.core.caption import Caption
from appliance.core.labels import LabelSet
from training.datasets import Example, Split
from training.teach.asking import Question
from training.teach.teacher import Answer, Reason, Rejected, read_answer


@dataclass(frozen=True)
class Kept:
    question: Question
    caption: Caption
    answer: Answer


@dataclass(frozen=True)
class Reject:
    question: Question
    reason: Reason
    detail: str


@dataclass
class Lessons:
    """Grows round by round."""

    kept: list[Kept] = field(default_factory=list)
    rejects: list[Reject] = field(default_factory=list)
    not_asked: int = 0
    """Images whose turn had come when the budget ran out."""

    def kept_by_label(self) -> Counter[str]:
        return Counter(lesson.caption.label for lesson in self.kept)

    def file_answer(self, question: Question, answer: Answer, labels: LabelSet) -> None:
        """Keep the answer's caption, or say why not.

        A picture that is in the data twice is kept once: its two groups may be in two splits.
        """
        example = question.example
        try:
            caption = read_answer(answer, labels, example.domain, example.label)
            if any(lesson.question.key == question.key for lesson in self.kept):
                raise Rejected("duplicate", "the same picture is kept already")
        except Rejected as exc:
            self.file_failure(question, exc)
        else:
            self.kept.append(Kept(question, caption, answer))

    def file_failure(self, question: Question, problem: Rejected) -> None:
        self.rejects.append(Reject(question, problem.reason, problem.detail))


def caption_row(lesson: Kept, split: Split) -> dict[str, Any]:
    """A line of captions.jsonl."""
    answer = lesson.answer
    return {
        **_place(lesson.question.example),
        "split": split,
        "caption": asdict(lesson.caption),
        "teacher": answer.model,
        "usage": {"input_tokens": answer.input_tokens, "output_tokens": answer.output_tokens},
        "answer": lesson.question.key,
    }


def reject_row(reject: Reject) -> dict[str, Any]:
    """A line of rejects.jsonl."""
    return {
        **_place(reject.question.example),
        "reason": reject.reason,
        "detail": reject.detail,
        "answer": reject.question.key,
    }


def _place(example: Example) -> dict[str, Any]:
    """`data_split` is the data set's own split, which a model trained before may have seen."""
    return {
        "dataset": example.dataset,
        "row": example.row,
        "group": example.group,
        "label": example.label,
        "domain": example.domain,
        "data_split": example.split,
    }
