"""Captions from a teacher: which images it is shown, which of its captions are kept.

    python -m training teach --config training/configs/teach-gpt5.toml --data DIR

The teacher is asked in rounds until every label has its captions or no images left, so that what
is kept is balanced, not only what is asked. The run folder then holds captions.jsonl,
rejects.jsonl and DATA_CARD.md, which follow from the recipe, the data and the answers in it.
"""

import asyncio
import json
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from appliance.core.labels import LabelSet
from training.datasets import FILES, Example, Split, encoded_images, read_examples
from training.labels import label_set
from training.teach.answers import AnswerFolder, Purse, answer_key
from training.teach.asking import Asker, Question
from training.teach.data_card import SPLITS, Spending, data_card
from training.teach.endpoint import Endpoint
from training.teach.grouping import group_of, in_asking_order, split_groups
from training.teach.lessons import Lessons, caption_row, reject_row
from training.teach.recipe import TeachRecipe
from training.teach.teacher import prompt_version, request_body
from training.whole_file import write_whole

Say = Callable[[str], None]


@dataclass(frozen=True)
class Plan:
    """All that is settled before the first request."""

    recipe: TeachRecipe
    labels: LabelSet
    run: Path
    candidates: dict[str, list[Question]]
    """By label, in the order they are asked; no more than the recipe lets be asked."""
    answers: AnswerFolder


def make_plan(recipe: TeachRecipe, data: Path, run: Path) -> Plan:
    """Raises: DatasetError, DamagedAnswer."""
    labels = label_set()
    # The data sets' own test images measure every model, those of their validation calibrate it:
    # none of theirs may be learnt.
    examples = [example for example in read_examples(data)[0] if example.split == "train"]
    images = {dataset: encoded_images(data, dataset) for dataset in FILES}
    most = recipe.sampling.asked_per_label
    candidates = {}
    for label in (label for label in labels if label.domain in recipe.sampling.domains):
        ordered = in_asking_order([e for e in examples if e.label == label.name], recipe.seed)
        candidates[label.name] = [
            _question(recipe, labels, example, images[example.dataset][example.row])
            for example in ordered[:most]
        ]
    answers = AnswerFolder(run / "answers", recipe.endpoint.most_output_tokens)
    return Plan(recipe, labels, run, candidates, answers)


def estimate(plan: Plan) -> str:
    """What the run will take, in two lines for a person, before anything is sent."""
    sampling, prices = plan.recipe.sampling, plan.recipe.prices
    first = [q for row in plan.candidates.values() for q in row[: sampling.kept_per_label]]
    every = [q for row in plan.candidates.values() for q in row]
    least = _cost(plan, first, prices.output_tokens)
    likely_most = _cost(plan, every, prices.output_tokens)
    very_most = _cost(plan, every, plan.recipe.endpoint.most_output_tokens)
    return (
        f"{len(plan.answers)} answers here ({plan.answers.cost:.2f} dollars); to ask: "
        f"{_unanswered(plan, first)} to {_unanswered(plan, every)} images\n"
        f"estimate: {least:.2f} to {likely_most:.2f} dollars, at the very most {very_most:.2f}; "
        f"budget {prices.budget:.2f}, of which {plan.answers.cost:.2f} is spent"
    )


def teach(plan: Plan, api_key: str, date: str, say: Say) -> Lessons:
    """Ask what has no answer yet, then write the three files.

    Raises: EndpointRefused; the answers until then are kept.
    """
    prices, limit = plan.recipe.prices, plan.recipe.endpoint.most_output_tokens
    purse = Purse(prices, plan.answers.cost, limit)
    lessons = asyncio.run(_hold_lessons(plan, api_key, purse, say))
    spending = Spending(plan.answers.cost, max(0.0, purse.spent - plan.answers.cost))
    _write(plan, lessons, spending, date)
    say(f"{len(lessons.kept)} captions kept, {len(lessons.rejects)} images rejected")
    return lessons


async def _hold_lessons(plan: Plan, api_key: str, purse: Purse, say: Say) -> Lessons:
    recipe, lessons = plan.recipe, Lessons()
    waiting = {label: deque(questions) for label, questions in plan.candidates.items()}
    async with Endpoint(recipe.endpoint, recipe.patience, api_key) as endpoint:
        asker = Asker(endpoint, recipe, plan.labels, plan.answers, purse, say)
        while questions := _next_round(waiting, lessons, recipe.sampling.kept_per_label):
            await asker.ask(questions)
            for question in questions:
                if question.key in plan.answers:
                    lessons.file_answer(question, plan.answers[question.key], plan.labels)
                elif problem := asker.failures.get(question.key):
                    lessons.file_failure(question, problem)
                else:
                    lessons.not_asked += 1
            if lessons.not_asked:
                break
    return lessons


def _next_round(
    waiting: dict[str, deque[Question]], lessons: Lessons, wanted: int
) -> list[Question]:
    """As many images of each label as it still lacks captions, labels taking turns."""
    kept = lessons.kept_by_label()
    lacking = {label: wanted - kept[label] for label in waiting}
    questions = []
    for turn in range(max(lacking.values(), default=0)):
        for label, queue in waiting.items():
            if turn < lacking[label] and queue:
                questions.append(queue.popleft())
    return questions


def _write(plan: Plan, lessons: Lessons, spending: Spending, date: str) -> None:
    recipe = plan.recipe
    lessons.kept.sort(key=lambda lesson: _place(lesson.question))
    lessons.rejects.sort(key=lambda reject: _place(reject.question))
    shares: dict[Split, float] = {split: getattr(recipe.split, split) for split in SPLITS}
    kept = [lesson.question.example for lesson in lessons.kept]
    split_of = split_groups(kept, shares, recipe.seed)
    rows = [
        caption_row(lesson, split_of[group_of(lesson.question.example)]) for lesson in lessons.kept
    ]
    card = data_card(recipe, plan.labels, lessons, split_of, spending, date)
    write_whole(plan.run / "captions.jsonl", _lines(rows))
    write_whole(plan.run / "rejects.jsonl", _lines([reject_row(r) for r in lessons.rejects]))
    write_whole(plan.run / "DATA_CARD.md", card)


def _question(recipe: TeachRecipe, labels: LabelSet, example: Example, image: bytes) -> Question:
    prompt = prompt_version(labels, example.domain)
    key = answer_key(image, prompt, recipe.sampling.image_side, recipe.endpoint)
    return Question(example, image, key)


def _unanswered(plan: Plan, questions: list[Question]) -> int:
    return len({q.key for q in questions} - set(plan.answers))


def _cost(plan: Plan, questions: list[Question], output_tokens: int) -> float:
    purse = Purse(plan.recipe.prices, 0, output_tokens)
    total, seen = 0.0, set(plan.answers)
    for question in questions:
        if question.key not in seen:
            seen.add(question.key)
            domain = question.example.domain
            body = request_body(plan.recipe.endpoint, plan.labels, domain, "")
            total += purse.estimate(len(json.dumps(body)), output_tokens)
    return total


def _place(question: Question) -> tuple[str, int]:
    return question.example.dataset, question.example.row


def _lines(rows: list[dict[str, Any]]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
