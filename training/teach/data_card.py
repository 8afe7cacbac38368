"""The data card of a teaching run, in Markdown: what is in it, from where, by whom, at what cost.

Knows nothing but what it is given; the date too is an argument.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import get_args

from appliance.core.labels import LabelSet
from appliance.core.prompt import PERSONA
from training.datasets import FILES, Split
from training.teach.grouping import Group, group_of
from training.teach.lessons import Lessons
from training.teach.recipe import TeachRecipe
from training.teach.teacher import prompt_version, request_text

SPLITS: tuple[Split, ...] = get_args(Split)


@dataclass(frozen=True)
class Spending:
    """In dollars."""

    answers: float
    """What the answers in the run folder cost, by the usage they report."""
    unseen: float
    """The most that attempts without an answer may have cost in this run."""


def data_card(
    recipe: TeachRecipe,
    labels: LabelSet,
    lessons: Lessons,
    split_of: dict[Group, Split],
    spending: Spending,
    date: str,
) -> str:
    sections = [
        f"# Captions: {recipe.name}",
        _summary(recipe, lessons, spending, date),
        "## Captions by label and split\n\n" + _label_table(labels, lessons, split_of),
        "## Rejects by label and reason\n\n" + _reject_table(labels, lessons),
        "## Sources and terms\n\n" + _sources(lessons),
        "## Splits\n\n" + _splits(recipe, split_of),
        "## Prompt\n\n" + _prompts(recipe, labels),
    ]
    return "\n\n".join(sections) + "\n"


def _summary(recipe: TeachRecipe, lessons: Lessons, spending: Spending, date: str) -> str:
    asked = len(lessons.kept) + len(lessons.rejects)
    teachers = sorted({lesson.answer.model for lesson in lessons.kept} - {""})
    lines = [
        f"- Date: {date}",
        f"- Teacher: {recipe.endpoint.model} at {recipe.endpoint.base_url}",
        f"- Answered as: {', '.join(teachers) or 'not said'}",
        f"- Images: {asked} asked about, {len(lessons.kept)} captions kept, "
        f"{len(lessons.rejects)} rejected",
        "- Kept only where the teacher, not told it, gave the label of the data set",
        f"- Cost: {spending.answers:.2f} dollars for the answers in this folder, at "
        f"{recipe.prices.input_per_million:g} and {recipe.prices.output_per_million:g} dollars "
        "per million input and output tokens"
        + (f"; up to {spending.unseen:.2f} more for lost attempts" if spending.unseen else ""),
    ]
    if lessons.not_asked:
        lines.append(
            f"- **Not finished:** the budget of {recipe.prices.budget:.2f} dollars ended before "
            f"{lessons.not_asked} images of the last round were asked about"
        )
    return "\n".join(lines)


def _label_table(labels: LabelSet, lessons: Lessons, split_of: dict[Group, Split]) -> str:
    count = Counter(
        (lesson.caption.label, split_of[group_of(lesson.question.example)])
        for lesson in lessons.kept
    )
    rows = [
        [name, *(str(count[name, split]) for split in SPLITS), str(lessons.kept_by_label()[name])]
        for name in labels.names
    ]
    totals = [sum(count[name, split] for name in labels.names) for split in SPLITS]
    rows.append(["all", *map(str, totals), str(len(lessons.kept))])
    return _table(["label", *SPLITS, "all"], rows)


def _reject_table(labels: LabelSet, lessons: Lessons) -> str:
    count = Counter((reject.question.example.label, reject.reason) for reject in lessons.rejects)
    reasons = sorted({reason for _, reason in count})
    if not reasons:
        return "None."
    rows = [[name, *(str(count[name, reason]) for reason in reasons)] for name in labels.names]
    totals = [sum(count[name, reason] for name in labels.names) for reason in reasons]
    table = _table(["label", *reasons], [*rows, ["all", *map(str, totals)]])
    return (
        "What the teacher gets wrong is not among the captions: they are of its easier cases, the "
        "more so where a label has many rejects.\n\n" + table
    )


def _sources(lessons: Lessons) -> str:
    used = Counter(lesson.question.example.dataset for lesson in lessons.kept)
    lines = [f"- {name}: {used[name]} images. {terms}" for name, terms in FILES.items()]
    return "\n".join(
        [*lines, "", "The captions carry the terms of their images and of the teacher."]
    )


def _splits(recipe: TeachRecipe, split_of: dict[Group, Split]) -> str:
    shares = "/".join(f"{100 * share:g}" for share in vars(recipe.split).values())
    return (
        f"{shares}, by seed {recipe.seed}; no lesion or patient ({len(split_of)} in all) is in two "
        "splits. All are of the data sets' own training splits: on the others `evaluate` measures "
        "and `export release` calibrates. A model that was trained on a data set's own training "
        "split has seen all of these images, also those in `val` and `test` here."
    )


def _prompts(recipe: TeachRecipe, labels: LabelSet) -> str:
    parts = [f"Persona: {PERSONA}"]
    for domain in recipe.sampling.domains:
        version = prompt_version(labels, domain)
        parts.append(f"{domain}, version {version}:\n\n```\n{request_text(labels, domain)}\n```")
    return "\n\n".join(parts)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)
