"""What a judge learns from: questions drawn of captioned images, and some of the captions."""

import csv
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from appliance.core.treatment import RuleBook
from training.conversation import Conversation
from training.datasets import DatasetError, Split, encoded_images
from training.labels import label_set
from training.pixels import decoded
from training.qlora.material import CaptionedImage, gather
from training.qlora.train import Material
from training.treatment.asking import judge_lesson
from training.treatment.drawing import Drawn, draw_questions
from training.treatment.recipe import JudgeRecipe

if TYPE_CHECKING:
    import torch

SUPERVISED, HELD, OPTIMISED = 0, 1, 2
"""Which questions are drawn; each a seed of its own."""


def gather_questions(
    model: Any,
    tokenizer: Any,
    recipe: JudgeRecipe,
    captioned: list[CaptionedImage],
    book: RuleBook,
    data: Path,
    run: Path,
    say: Callable[[str], None],
) -> Material:
    """The captions' lessons first, then those of the questions.

    Raises: DatasetError.
    """
    captions = gather(model, tokenizer, recipe, captioned, data, run, say)
    train = drawn_of(SUPERVISED, recipe.questions.train, recipe, captioned, book)
    held = drawn_of(HELD, recipe.questions.validation, recipe, captioned, book)
    length = model.config.mm_tokens_per_image
    lessons = [
        judge_lesson(
            tokenizer,
            length,
            *(one.asked.finding, one.asked.treatment, one.asked.named),
            {label: answer for label, (answer, _) in one.asked.right.items()},
            one.label,
        )
        for one in (*train, *held)
    ]
    images = np.array([one.image for one in (*train, *held)])
    share = recipe.questions.caption_share
    return join(captions, lessons, images, len(train), share)


def drawn_of(
    which: int,
    count: int,
    recipe: JudgeRecipe,
    captioned: Sequence[CaptionedImage],
    book: RuleBook,
) -> list[Drawn]:
    """`count` questions; `image` is a place in `captioned`. Those HELD are of the validation split,
    the others of the training split.

    Raises: DatasetError.
    """
    split: Split = "val" if which == HELD else "train"
    images: dict[str, list[int]] = defaultdict(list)
    for place, each in enumerate(captioned):
        if each.split == split:
            images[each.example.label].append(place)
    share, left_out = recipe.steps.domain_share, texts_of(recipe.questions.left_out)
    seed = hash((recipe.seed, which))
    try:
        return draw_questions(count, book, label_set(), images, share, left_out, seed)
    except ValueError as exc:
        raise DatasetError(str(exc)) from exc


def squares(
    captioned: Sequence[CaptionedImage], data: Path, side: int
) -> Callable[[int], NDArray[np.uint8]]:
    """Gives the image at a place in `captioned`, (side, side, 3), as at the clinic."""
    held = {each.example.dataset for each in captioned}
    images = {dataset: encoded_images(data, dataset) for dataset in held}

    def square(place: int) -> NDArray[np.uint8]:
        example = captioned[place].example
        return decoded(example, images[example.dataset][example.row], side)

    return square


def texts_of(tables: Sequence[str]) -> set[str]:
    """Findings and treatments of these tables. Raises: DatasetError."""
    texts: set[str] = set()
    for table in tables:
        try:
            with Path(table).open(encoding="utf-8", newline="") as file:
                for row in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE):
                    texts |= {row["finding"], row["treatment"]}
        except (OSError, KeyError) as exc:
            raise DatasetError(
                f"{table}: no table with findings and treatments ({exc}); correct "
                "questions.left_out in the recipe"
            ) from exc
    return texts


def join(
    captions: Material,
    questions: Sequence[Conversation],
    images: NDArray[np.int64],
    in_train: int,
    caption_share: float,
) -> Material:
    """`questions`: lessons of the training split, of which there are `in_train`, then of the
    validation split; `images`: which image each of them asks of. Numbers of the images that
    Material speaks of are then those of lessons."""
    first = len(captions.lessons)
    image_of = np.concatenate([np.arange(first), images])
    places = np.arange(first, first + len(questions))
    share = np.full(in_train, (1 - caption_share) / in_train)

    def tokens(model: Any, images: NDArray[np.int64], views: NDArray[np.int64]) -> "torch.Tensor":
        return captions.image_tokens(model, image_of[images], views)

    return replace(
        captions,
        lessons=[*captions.lessons, *questions],
        image_tokens=tokens,
        train=np.concatenate([captions.train, places[:in_train]]),
        validation=np.concatenate([captions.validation, places[in_train:]]),
        weights=np.concatenate([captions.weights * caption_share, share]),
    )
