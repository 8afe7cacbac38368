"""The verb `preferences`: optimise a caption adapter by what clinics corrected."""

from pathlib import Path

import click

from training.options import FILE, FOLDER, RUN, say


@click.command()
@click.argument("config", type=FILE)
@click.option(
    "--reference",
    type=FOLDER,
    required=True,
    help="The adapter that the clinic's release was made of.",
)
@click.option(
    "--shards",
    type=FOLDER,
    required=True,
    help="Folder with what `appliance cases corrections` wrote.",
)
@click.option("--run", type=RUN, required=True, help="Folder for checkpoints and the adapter.")
def preferences(config: Path, reference: Path, shards: Path, run: Path) -> None:
    """Optimise a caption adapter by clinicians' corrections; resumes where it was stopped."""
    from training.adapted import load_adapted
    from training.plain_errors import plain_errors
    from training.preferences.optimise import prefer
    from training.preferences.recipe import read_preference_recipe
    from training.preferences.shard import read_shards
    from training.qlora.base import BaseModelError

    with plain_errors(BaseModelError, OSError):
        recipe = read_preference_recipe(config)
        judged = read_shards(shards)
        adapted = load_adapted(reference, learns=True)
        adapter = prefer(adapted, reference, recipe, judged, run, say)
    click.echo(adapter)
