"""The verb `qlora`: read the recipe, load the base, gather what it learns from, train."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from training.qlora.estimate import Lessons
    from training.qlora.geometry import BaseGeometry


@click.command()
@click.option(
    "--config",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    required=True,
    help="Recipe (TOML), for example training/configs/medgemma-4b-it.toml.",
)
@click.option(
    "--data",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder with the three data sets.",
)
@click.option(
    "--captions",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="captions.jsonl, as `teach` writes it.",
)
@click.option(
    "--run",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for checkpoints, kept images and the adapter.",
)
@click.option("--dry-run", is_flag=True, help="Print memory, tokens and time; load nothing.")
@click.option(
    "--tflops",
    type=click.FloatRange(0, min_open=True),
    default=312.0,
    show_default="312, an A100's in bfloat16",
    help="Peak speed of the accelerator that the dry run's time is for.",
)
@click.option(
    "--utilisation",
    type=click.FloatRange(0, 1, min_open=True),
    default=0.3,
    show_default=True,
    help="Share of that speed which the dry run assumes.",
)
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
    from training.datasets import DatasetError
    from training.qlora.base import BaseModelError
    from training.qlora.recipe import read_qlora_recipe
    from training.recipe import RecipeError

    try:
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
        if data is None or captions is None or run is None:
            raise click.UsageError("--data, --captions and --run are needed, unless --dry-run")
        click.echo(_train(config, data, captions, run))
    except RecipeError as exc:
        raise click.UsageError(str(exc)) from exc
    except (BaseModelError, DatasetError, OSError) as exc:
        raise click.ClickException(str(exc)) from exc


def _train(config: Path, data: Path, captions: Path, run: Path) -> Path:
    from training.qlora.base import require_base
    from training.qlora.material import gather, read_captions
    from training.qlora.projected import forget_tower
    from training.qlora.recipe import read_qlora_recipe
    from training.qlora.train import add_adapter, load_base, name_base, train_adapter
    from training.tokenizer import load_tokenizer

    def say(line: str) -> None:
        click.echo(line, err=True)

    recipe = read_qlora_recipe(config)
    captioned = [each for each in read_captions(captions, data) if each.split != "test"]
    folder = require_base(recipe.base)
    tokenizer = load_tokenizer(folder)
    base = load_base(recipe.base, recipe.quantization)
    material = gather(base, tokenizer, recipe, captioned, data, run, say)
    if recipe.adapter.vision == "frozen":
        forget_tower(base)
    adapter = train_adapter(add_adapter(base, recipe), recipe, material, run, say)
    name_base(adapter, folder)
    return adapter


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
