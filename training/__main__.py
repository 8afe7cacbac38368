"""`python -m training`: each verb is one recipe or one measurement."""

from pathlib import Path

import click

from training.recipe import Recipe, read_recipe

DEMONSTRATION = Path(__file__).parent / "configs" / "demonstration.toml"

data_option = click.option(
    "--data",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    required=True,
    help="Folder with ham10000.parquet, odir5k.parquet and kermany_cxr.parquet.",
)
config_option = click.option(
    "--config",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    default=DEMONSTRATION,
    show_default="the demonstration model",
    help="Recipe (TOML).",
)
run_option = click.option(
    "--run",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path(".runs/demonstration"),
    show_default=True,
    help="Folder for checkpoints and what the run makes.",
)


@click.group()
def main() -> None:
    """Train and evaluate the model behind the appliance."""


@main.command()
@data_option
@config_option
@run_option
def tower(data: Path, config: Path, run: Path) -> None:
    """Train the vision tower as a classifier, from scratch."""
    from training.tower import train_tower

    recipe: Recipe = read_recipe(config)
    click.echo(train_tower(recipe, data, run, lambda line: click.echo(line, err=True)))


if __name__ == "__main__":
    main()
