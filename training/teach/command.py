"""The verb `teach`: read the recipe and the key, print the estimate, run, say what came of it."""

import datetime
import os
from pathlib import Path

import click

from training.options import FILE, RUN, data_option, say
from training.teach.recipe import TeachRecipe, read_teach_recipe


@click.command()
@data_option
@click.option(
    "--config",
    type=FILE,
    required=True,
    help="Recipe (TOML); training/configs/teach-gpt5.toml is one to start from.",
)
@click.option(
    "--run",
    type=RUN,
    default=Path(".runs/teach"),
    show_default=True,
    help="Folder for the answers and what is made of them; an interrupted run goes on there.",
)
@click.option("--date", default=None, help="Date on the data card.  [default: today]")
@click.option("--dry-run", is_flag=True, help="Print the estimate and ask nothing.")
def teach(data: Path, config: Path, run: Path, date: str | None, dry_run: bool) -> None:
    """Have a teacher model caption a balanced choice of the images.

    Kept are captions whose label, which the teacher is not told, is the data set's. Prints the
    file with the captions; rejects and a data card are beside it.

    Exit codes: 0 done; 1 the endpoint refused or the budget ended; 2 the recipe or its key.
    """
    from training.plain_errors import plain_errors
    from training.teach.answers import DamagedAnswer, RunInUse, only_run_in
    from training.teach.endpoint import EndpointRefused
    from training.teach.run import estimate, make_plan
    from training.teach.run import teach as hold_lessons

    with plain_errors(DamagedAnswer, EndpointRefused, OSError, RunInUse):
        recipe = read_teach_recipe(config)
        if dry_run:
            say(estimate(make_plan(recipe, data, run)))
            return
        with only_run_in(run):
            plan = make_plan(recipe, data, run)
            say(estimate(plan))
            lessons = hold_lessons(
                plan, _api_key(recipe), date or datetime.date.today().isoformat(), say
            )
    click.echo(run / "captions.jsonl")
    if lessons.not_asked:
        raise click.ClickException(
            f"the budget of {recipe.prices.budget:.2f} dollars ended the run; with a larger one it "
            "goes on from here and asks nothing twice"
        )


def _api_key(recipe: TeachRecipe) -> str:
    from training.recipe import RecipeError

    name = recipe.endpoint.api_key_variable
    if not name:
        return ""
    if not os.environ.get(name):
        raise RecipeError(f"the environment variable {name} with the endpoint's key is not set")
    return os.environ[name]
