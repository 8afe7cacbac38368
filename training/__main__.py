"""`python -m training`: each verb is one recipe or one measurement."""

from pathlib import Path

import click

from training.atlas.command import atlas
from training.evaluation.command import compare, evaluate, report
from training.evaluation.judging_command import judge
from training.measured.command import measured
from training.options import FILE, RUN, captions_option, data_option, say
from training.plain_errors import plain_errors
from training.preferences.command import preferences
from training.qlora.command import qlora
from training.recipe import read_recipe
from training.synthetic.command import synthetic
from training.teach.command import teach
from training.treatment.command import treatment, treatment_optimise

DEMONSTRATION = Path(__file__).parent / "configs" / "demonstration.toml"

config_option = click.option(
    "--config",
    type=FILE,
    default=DEMONSTRATION,
    show_default="the demonstration model",
    help="Recipe (TOML).",
)
run_option = click.option(
    "--run",
    type=RUN,
    default=Path(".runs/demonstration"),
    show_default=True,
    help="Folder for checkpoints and what the run makes.",
)


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

    with plain_errors(OSError):
        click.echo(train_convnet(read_recipe(config), data, run, say))


@main.command()
@data_option
@captions_option
@config_option
@run_option
def tower(data: Path, captions: Path, config: Path, run: Path) -> None:
    """Train the vision tower as a classifier, from scratch, with the convnet as its teacher."""
    from training.tower import train_tower

    with plain_errors(OSError):
        click.echo(train_tower(read_recipe(config), data, captions, run, say))


@main.command()
@data_option
@captions_option
@config_option
@run_option
def captioner(data: Path, captions: Path, config: Path, run: Path) -> None:
    """Train the base captioner, which describes but knows no label, on the tower."""
    from training.captioner import train_captioner

    with plain_errors(OSError):
        click.echo(train_captioner(read_recipe(config), data, captions, run, say))


if __name__ == "__main__":
    main()
