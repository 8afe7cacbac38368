"""The verbs `treatment` and `treatment-optimise`: teach a judge, then optimise it."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from appliance.core.treatment import RuleBook

config_argument = click.argument(
    "config", type=click.Path(exists=True, dir_okay=False, path_type=Path)
)
data_option = click.option(
    "--data",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder with the three data sets.",
)
captions_option = click.option(
    "--captions",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="captions.jsonl, as `teach` or `measured captions` writes it.",
)
run_option = click.option(
    "--run",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for checkpoints, kept images and adapters.",
)
dry_run_option = click.option(
    "--dry-run", is_flag=True, help="Print memory, tokens and time; load nothing."
)
tflops_option = click.option(
    "--tflops",
    type=click.FloatRange(0, min_open=True),
    default=312.0,
    show_default="312, an A100's in bfloat16",
    help="Peak speed of the accelerator that the dry run's time is for.",
)
utilisation_option = click.option(
    "--utilisation",
    type=click.FloatRange(0, 1, min_open=True),
    default=0.3,
    show_default=True,
    help="Share of that speed which the dry run assumes.",
)


@click.command()
@config_argument
@data_option
@captions_option
@run_option
@dry_run_option
@tflops_option
@utilisation_option
def treatment(
    config: Path,
    data: Path | None,
    captions: Path | None,
    run: Path | None,
    dry_run: bool,
    tflops: float,
    utilisation: float,
) -> None:
    """Teach a captioner to judge treatments; resumes where it was stopped.

    A dry run needs CONFIG only, and tells of both stages.
    """
    if dry_run:
        for line in dry_lines(config, tflops, utilisation):
            click.echo(line)
        return
    click.echo(_teach(config, *_all_given(data, captions, run)))


def dry_lines(config: Path, tflops: float, utilisation: float) -> list[str]:
    """Raises: click.ClickException."""
    from training.plain_errors import plain_errors
    from training.qlora.base import BaseModelError, geometry_of
    from training.qlora.estimate import estimate, report
    from training.recipe import RecipeError
    from training.treatment.estimate import (
        estimate_optimisation,
        judge_lessons,
        question_length,
        report_optimisation,
    )
    from training.treatment.recipe import read_treatment_recipe

    with plain_errors(RecipeError, BaseModelError, OSError):
        recipe = read_treatment_recipe(config)
        geometry = geometry_of(recipe.base)
        length = question_length(geometry, recipe, rule_book())
        lessons = judge_lessons(geometry, recipe, length)
        supervised = estimate(geometry, recipe, lessons, tflops, utilisation)
        optimised = estimate_optimisation(geometry, recipe, length, tflops, utilisation)
    return [
        f"{recipe.name}: {recipe.base}",
        *report(supervised, lessons, tflops, utilisation),
        *report_optimisation(optimised, recipe),
    ]


def _all_given(
    data: Path | None, captions: Path | None, run: Path | None
) -> tuple[Path, Path, Path]:
    if data is None or captions is None or run is None:
        raise click.UsageError("--data, --captions and --run are needed, unless --dry-run")
    return data, captions, run


def _teach(config: Path, data: Path, captions: Path, run: Path) -> Path:

    from training.plain_errors import plain_errors
    from training.processes import processes
    from training.qlora.base import BaseModelError, require_base
    from training.qlora.material import read_captions
    from training.qlora.projected import forget_tower
    from training.qlora.train import add_adapter, load_base, name_base, train_adapter
    from training.recipe import RecipeError
    from training.tokenizer import load_tokenizer
    from training.treatment.material import gather_questions
    from training.treatment.recipe import read_treatment_recipe

    with plain_errors(RecipeError, BaseModelError, OSError):
        recipe = read_treatment_recipe(config).supervised
        captioned = [each for each in read_captions(captions, data) if each.split != "test"]
        folder = require_base(recipe.base)
        base = load_base(recipe.base, recipe.quantization)
        material = gather_questions(
            base, load_tokenizer(folder), recipe, captioned, rule_book(), data, run, say
        )
        if recipe.adapter.vision == "frozen":
            forget_tower(base)
        adapter = train_adapter(add_adapter(base, recipe), recipe, material, run, say)
        if processes().is_main_process:
            name_base(adapter, folder)
    return adapter


@click.command("treatment-optimise")
@config_argument
@data_option
@captions_option
@run_option
def treatment_optimise(
    config: Path, data: Path | None, captions: Path | None, run: Path | None
) -> None:
    """Optimise the judge that `treatment` taught in the same run; resumes where it was stopped."""
    click.echo(_optimise(config, *_all_given(data, captions, run)))


def _optimise(config: Path, data: Path, captions: Path, run: Path) -> Path:

    from training.adapted import load_adapted
    from training.plain_errors import plain_errors
    from training.processes import processes
    from training.qlora.base import BaseModelError, require_base
    from training.qlora.material import read_captions
    from training.qlora.train import name_base
    from training.recipe import RecipeError
    from training.treatment.drawing import pairs_of
    from training.treatment.material import HELD, OPTIMISED, drawn_of, squares
    from training.treatment.optimise import optimise
    from training.treatment.recipe import read_treatment_recipe

    with plain_errors(RecipeError, BaseModelError, OSError):
        recipe = read_treatment_recipe(config)
        captioned = [each for each in read_captions(captions, data) if each.split != "test"]
        judge = load_adapted(run / "adapter", learns=True)
        settings, book = recipe.optimisation, rule_book()
        # Half of what is drawn is pairs, of which a step takes half as many as questions.
        count = 2 * settings.steps * settings.questions
        train = pairs_of(drawn_of(OPTIMISED, count, recipe, captioned, book))
        held = pairs_of(drawn_of(HELD, 4 * settings.held_pairs, recipe, captioned, book))
        side = judge.model.config.vision_config.image_size
        picture = squares(captioned, data, side)
        adapter = optimise(judge, recipe, train, held, picture, run / "optimised", say)
        if processes().is_main_process:
            name_base(adapter, require_base(recipe.base))
    return adapter


def rule_book() -> "RuleBook":
    """The project's own rules: a clinic's are not on the workstation."""
    import tempfile

    from appliance.config import Config
    from appliance.wiring import open_rules

    with tempfile.TemporaryDirectory() as home:
        return open_rules(Config(Path(home)))


def say(line: str) -> None:
    click.echo(line, err=True)
