"""`python -m training`: each verb is one recipe or one measurement."""

from pathlib import Path

import click

from training.atlas.command import atlas
from training.evaluation.command import compare, evaluate, report
from training.evaluation.judging_command import judge
from training.measured.command import measured
from training.preferences.command import preferences
from training.qlora.command import qlora
from training.recipe import read_recipe
from training.synthetic.command import synthetic
from training.teach.command import teach
from training.treatment.command import treatment, treatment_optimise

DEMONSTRATION = Path(__file__).parent / "configs" / "demonstration.toml"

data_option = click.option(
    "--data",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    required=True,
    help="Folder with ham10000.parquet, odir5k.parquet and kermany_cxr.parquet.",
)
captions_option = click.option(
    "--captions",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    required=True,
    help="captions.jsonl, as `measured captions` writes it.",
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


def say(line: str) -> None:
    click.echo(line, err=True)


@click.group()
def main() -> None:
    """Train and evaluate the model behind the appliance."""


main.add_command(teach)
main.add_command(measured)
main.add_command(qlora)
main.add_command(atlas)
main.add_command(synthetic)
main.add_command(evaluate)
main.add_command(compare)
main.add_command(judge)
main.add_command(report)
main.add_command(treatment)
main.add_command(treatment_optimise)
main.add_command(preferences)


@main.command()
@data_option
@config_option
@run_option
def convnet(data: Path, config: Path, run: Path) -> None:
    """Fine-tune the convolutional network that teaches the tower."""
    from training.convnet import train_convnet

    recipe = read_recipe(config)
    click.echo(train_convnet(recipe, data, run, say))


@main.command()
@data_option
@captions_option
@config_option
@run_option
def tower(data: Path, captions: Path, config: Path, run: Path) -> None:
    """Train the vision tower as a classifier, from scratch, with the convnet as its teacher."""
    from training.tower import train_tower

    recipe = read_recipe(config)
    click.echo(train_tower(recipe, data, captions, run, say))


@main.command()
@data_option
@captions_option
@config_option
@run_option
def captioner(data: Path, captions: Path, config: Path, run: Path) -> None:
    """Train the base captioner, which describes but knows no label, on the tower."""
    from training.captioner import train_captioner

    recipe = read_recipe(config)
    click.echo(train_captioner(recipe, data, captions, run, say))


if __name__ == "__main__":
    main()
