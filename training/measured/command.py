"""The verb `measured`: the teacher that measures the picture, its cut points, and whether its
measures mean something."""

from pathlib import Path

import click

from training.options import data_option, say
from training.plain_errors import plain_errors


@click.group()
def measured() -> None:
    """Captions from findings measured on the picture itself, without a network."""


@measured.command()
@data_option
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    default=Path(".runs/measured/captions.jsonl"),
    show_default=True,
)
def captions(data: Path, out: Path) -> None:
    """Write the caption of every image, with the evidence for each finding, in its own split."""
    from training.measured.captions import write_captions

    with plain_errors():
        click.echo(write_captions(data, out, say))


@measured.command()
@data_option
def thresholds(data: Path) -> None:
    """Set the cut points at quantiles of the training split."""
    from training.measured.sample import train_values
    from training.measured.thresholds import write_thresholds

    with plain_errors():
        click.echo(write_thresholds(train_values(data, say)))


@measured.command()
@data_option
@click.option("--per-label", type=click.IntRange(2), default=400, show_default=True)
def validity(data: Path, per_label: int) -> None:
    """Print each measure's separation of labels and its stability under augmentation."""
    from training.measured.validity import table

    with plain_errors():
        for line in table(data, per_label):
            click.echo(line)
