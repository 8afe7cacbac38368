"""One evaluation from the model to figures.json, asking only what was not answered before."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from appliance.release.manifest import hash_file
from training.datasets import Split
from training.evaluation.answered import (
    AnsweredImage,
    EvaluationError,
    Header,
    answered_image,
    open_answers,
)
from training.evaluation.asking import with_progress
from training.evaluation.figures import FIGURES, evaluate
from training.evaluation.questions import Question, read_questions
from training.evaluation.subject import Subject
from training.whole_file import write_whole


def run_evaluation(
    subject: Subject,
    data: Path,
    split: Split,
    most_per_domain: int | None,
    folder: Path,
    say: Callable[[str], None],
    captions: Path | None = None,
) -> dict[str, Any]:
    """The figures, which are also written to the folder beside the answers.

    `captions`: whose split it is, if not the data sets'.

    Raises: DatasetError, EvaluationError.
    """
    questions = read_questions(data, split, most_per_domain, captions=captions)
    if not questions:
        raise EvaluationError(
            f"no image of the split {split} in {captions or data}; choose another --split"
        )
    if unknown := {question.label for question in questions} - set(subject.labels.names):
        raise EvaluationError(
            f"{subject.name} cannot give the label {min(unknown)}, which images in {data} have; "
            "evaluate a model with the label table's labels"
        )
    header = Header(
        model=subject.name,
        model_sha256=subject.sha256,
        split=split,
        images=len(questions),
        labels=subject.labels.names,
        domains=tuple(label.domain for label in subject.labels),
        temperatures=subject.temperatures,
        prompt_version=subject.prompt_version,
    )
    images = _ask_the_rest(subject, questions, folder, header, say)
    figures = {
        "model": header.model,
        "model_sha256": header.model_sha256,
        "split": split,
        "captions_sha256": hash_file(captions) if captions else None,
        **evaluate(subject.labels, images),
    }
    write_whole(folder / FIGURES, json.dumps(figures, indent=1, ensure_ascii=False) + "\n")
    return figures


def _ask_the_rest(
    subject: Subject,
    questions: Sequence[Question],
    folder: Path,
    header: Header,
    say: Callable[[str], None],
) -> list[AnsweredImage]:
    """Every question's answer, in the questions' order."""
    label_of = {(q.example.dataset, q.example.row): q.label for q in questions}
    with open_answers(folder, header) as answers:
        answered = {image.key: image for image in answers.images}
        for image in answers.images:
            if label_of.get(image.key) != image.label:
                raise EvaluationError(
                    f"{folder} has an answer about {image.dataset}, row {image.row} "
                    f"({image.label}), which --data or --captions has not so; choose another --out"
                )
        rest = [q for q, key in zip(questions, label_of, strict=True) if key not in answered]
        if rest:
            say(f"{len(rest)} images to ask about, {len(answered)} answered before")
            with subject.open() as ask:
                made = with_progress(ask(rest), len(rest), say)
                for question, answer in zip(rest, made, strict=True):
                    image = answered_image(subject.labels, question, answer)
                    answers.add(image)
                    answered[image.key] = image
    return [answered[key] for key in label_of]
