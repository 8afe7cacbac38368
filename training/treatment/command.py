"""The verbs `treatment` and `treatment-optimise`: teach a judge, then optimise it."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from training.options import FILE, RUN, all_given, dry_run_options, optional_data_option, say

if TYPE_CHECKING:
    from appliance.core.treatment import RuleBook

config_argument = click.argument("config", type=FILE)
captions_option = click.option(
    "--captions", type=FILE, help="captions.jsonl, as `teach` or `measured captions` writes it."
)
run_option = click.option(
    "--run", type=RUN, help="Folder for checkpoints, kept images and adapters."
)


@click.command()
@config_argument
@optional_data_option
@captions_option
@run_option
@dry_run_options
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
    click.echo(_teach(config, *all_given(data, captions, run)))


def dry_lines(config: Path, tflops: float, utilisation: float) -> list[str]:
    """Raises: click.ClickException."""
    from training.plain_errors import plain_errors
    from training.qlora.base import BaseModelError, geometry_of
    from training.qlora.estimate import estimate, report
    from training.treatment.estimate import (
        estimate_optimisation,
        judge_lessons,
        question_length,
        report_optimisation,
    )
    from training.treatment.recipe import read_treatment_recipe

    with plain_errors(BaseModelError, OSError):
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


def _teach(config: Path, data: Path, captions: Path, run: Path) -> Path:
    from training.plain_errors import plain_errors
    from training.qlora.base import BaseModelError
    from training.qlora.material import read_learnable
    from training.qlora.train import tune_base
    from training.treatment.material import gather_questions
    from training.treatment.recipe import read_treatment_recipe

    with plain_errors(BaseModelError, OSError):
        recipe = read_treatment_recipe(config).supervised
        material = partial(
            gather_questions,
            recipe=recipe,
            captioned=read_learnable(captions, data),
            book=rule_book(),
            data=data,
            run=run,
            say=say,
        )
        return tune_base(recipe, material, run, say)


@click.command("treatment-optimise")
@config_argument
@optional_data_option
@captions_option
@run_option
def treatment_optimise(
    config: Path, data: Path | None, captions: Path | None, run: Path | None
) -> None:
    """Optimise the judge that `treatment` taught in the same run; resumes where it was stopped."""
    click.echo(_optimise(config, *all_given(data, captions, run)))


def _optimise(config: Path, data: Path, captions: Path, run: Path) -> Path:
    from training.adapted import load_adapted
    from training.plain_errors import plain_errors
    from training.qlora.base import BaseModelError
    from training.qlora.material import read_learnable
    from training.treatment.drawing import pairs_of
    from training.treatment.material import HELD, OPTIMISED, drawn_of, squares
    from training.treatment.optimise import optimise
    from training.treatment.recipe import read_treatment_recipe

    with plain_errors(BaseModelError, OSError):
        recipe = read_treatment_recipe(config)
        captioned = read_learnable(captions, data)
        judge = load_adapted(run / "adapter", learns=True)
        settings, book = recipe.optimisation, rule_book()
        # Half of what is drawn is pairs, of which a step takes half as many as questions.
        count = 2 * settings.steps * settings.questions
        train = pairs_of(drawn_of(OPTIMISED, count, recipe, captioned, book))
        held = pairs_of(drawn_of(HELD, 4 * settings.held_pairs, recipe, captioned, book))
        picture = squares(captioned, data, judge.side)
        return optimise(judge, recipe, train, held, picture, run / "optimised", say)


def rule_book() -> "RuleBook":
    """The project's own rules: a clinic's are not on the workstation."""
    import tempfile

    from appliance.config import Config
    from appliance.wiring import open_rules

    with tempfile.TemporaryDirectory() as home:
        return open_rules(Config(Path(home)))
