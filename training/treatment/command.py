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
    required=True,
    help="Folder with the three data sets.",
)
captions_option = click.option(
    "--captions",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    required=True,
    help="captions.jsonl, as `teach` or `measured captions` writes it.",
)
run_option = click.option(
    "--run",
    type=click.Path(file_okay=False, path_type=Path),
    required=True,
    help="Folder for checkpoints, kept images and adapters.",
)


@click.command()
@config_argument
@data_option
@captions_option
@run_option
def treatment(config: Path, data: Path, captions: Path, run: Path) -> None:
    """Teach a captioner to judge treatments; resumes where it was stopped."""
    from training.plain_errors import plain_errors
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
        name_base(adapter, folder)
    click.echo(adapter)


@click.command("treatment-optimise")
@config_argument
@data_option
@captions_option
@run_option
def treatment_optimise(config: Path, data: Path, captions: Path, run: Path) -> None:
    """Optimise the judge that `treatment` taught in the same run; resumes where it was stopped."""
    from training.plain_errors import plain_errors
    from training.qlora.base import BaseModelError, require_base
    from training.qlora.material import read_captions
    from training.qlora.train import name_base
    from training.recipe import RecipeError
    from training.treatment.drawing import pairs_of
    from training.treatment.judging import load_judge
    from training.treatment.material import HELD, OPTIMISED, drawn_of, squares
    from training.treatment.optimise import optimise
    from training.treatment.recipe import read_treatment_recipe

    with plain_errors(RecipeError, BaseModelError, OSError):
        recipe = read_treatment_recipe(config)
        captioned = [each for each in read_captions(captions, data) if each.split != "test"]
        judge = load_judge(run / "adapter", learns=True)
        settings, book = recipe.optimisation, rule_book()
        train = drawn_of(OPTIMISED, settings.steps * settings.questions, recipe, captioned, book)
        held = pairs_of(drawn_of(HELD, 4 * settings.held_pairs, recipe, captioned, book))
        side = judge.model.config.vision_config.image_size
        picture = squares(captioned, data, side)
        adapter = optimise(judge, recipe, train, held, picture, run / "optimised", say)
        name_base(adapter, require_base(recipe.base))
    click.echo(adapter)


def rule_book() -> "RuleBook":
    """The project's own rules: a clinic's are not on the workstation."""
    import tempfile

    from appliance.config import Config
    from appliance.wiring import open_rules

    with tempfile.TemporaryDirectory() as home:
        return open_rules(Config(Path(home)))


def say(line: str) -> None:
    click.echo(line, err=True)
