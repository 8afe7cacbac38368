"""The verb `qlora`: read the recipe, load the base, gather what it learns from, train."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from training.options import FILE, RUN, all_given, dry_run_options, optional_data_option, say

if TYPE_CHECKING:
    from training.qlora.estimate import Lessons
    from training.qlora.geometry import BaseGeometry
    from training.qlora.recipe import QloraRecipe


@click.command()
@click.option(
    "--config",
    type=FILE,
    required=True,
    help="Recipe (TOML), for example training/configs/medgemma-4b-it.toml.",
)
@optional_data_option
@click.option("--captions", type=FILE, help="captions.jsonl, as `teach` writes it.")
@click.option("--run", type=RUN, help="Folder for checkpoints, kept images and the adapter.")
@dry_run_options
def qlora(
    config: Path,
    data: Path | None,
    captions: Path | None,
    run: Path | None,
    dry_run: bool,
    tflops: float,
    utilisation: float,
) -> None:
    """Fine-tune an adapter on captions; resumes where it was stopped.

    A dry run needs --config only; with --data and --captions it counts their tokens.
    """
    from training.plain_errors import plain_errors
    from training.qlora.base import BaseModelError
    from training.qlora.recipe import read_qlora_recipe

    with plain_errors(BaseModelError, OSError):
        recipe = read_qlora_recipe(config)
        if dry_run:
            from training.qlora.base import geometry_of
            from training.qlora.estimate import estimate, report

            geometry = geometry_of(recipe.base)
            lessons = _lessons(recipe.base, geometry, captions, data)
            found = estimate(geometry, recipe, lessons, tflops, utilisation)
            click.echo(f"{recipe.name}: {recipe.base}")
            click.echo("\n".join(report(found, lessons, tflops, utilisation)))
            return
        click.echo(_train(recipe, *all_given(data, captions, run)))


def _train(recipe: "QloraRecipe", data: Path, captions: Path, run: Path) -> Path:
    from training.qlora.material import gather, read_learnable
    from training.qlora.train import tune_base

    captioned = read_learnable(captions, data)
    material = partial(gather, recipe=recipe, captioned=captioned, data=data, run=run, say=say)
    return tune_base(recipe, material, run, say)


def _lessons(
    base: str, geometry: "BaseGeometry", captions: Path | None, data: Path | None
) -> "Lessons":
    """How long the conversations are: counted if the base's tokenizer is here, else assumed."""
    from appliance.core.caption import caption_json
    from training.conversation import conversation
    from training.qlora.base import find_base
    from training.qlora.estimate import Lessons, assumed_lessons
    from training.qlora.material import read_captions
    from training.tokenizer import load_tokenizer

    if captions is None or data is None:
        return assumed_lessons(geometry)
    captioned = read_captions(captions, data)
    train = sum(each.split == "train" for each in captioned)
    folder = find_base(base)
    if folder is None:
        return assumed_lessons(geometry, [caption_json(each.caption) for each in captioned], train)
    tokenizer = load_tokenizer(folder)
    lessons = [
        conversation(tokenizer, geometry.image_tokens, each.caption, 1.0) for each in captioned
    ]
    return Lessons(
        images=len(captioned),
        train=train,
        tokens=sum(len(lesson.ids) for lesson in lessons) / len(lessons),
        learnt=sum(sum(weight > 0 for weight in lesson.weights) for lesson in lessons)
        / len(lessons),
        source=f"counted over {len(captioned)} captions",
    )
