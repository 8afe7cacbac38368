"""`python -m export`: each verb is one step from a model to a release."""

import os
from pathlib import Path

import click

from export.errors import ExportError
from training.datasets import DatasetError


@click.group()
def main() -> None:
    """Turn a trained model into a release for the clinic."""


@main.command()
@click.argument("base", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("adapter", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("out", type=click.Path(path_type=Path))
def merge(base: Path, adapter: Path, out: Path) -> None:
    """Fold ADAPTER into BASE at full precision; OUT is the merged model's folder."""
    from export.merge import merge as fold

    try:
        changes = fold(base, adapter, out, lambda line: click.echo(line, err=True))
    except ExportError as exc:
        raise click.ClickException(str(exc)) from exc
    for change in changes:
        click.echo(f"{change.name}  {change.relative:.2%}  largest {change.largest:.3g}", err=True)
    click.echo(out)


@main.command()
@click.argument("model", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("out", type=click.Path(path_type=Path))
@click.option(
    "--data",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    required=True,
    help="Folder with the three data sets.",
)
@click.option("--version", default="0.1.0", show_default=True)
@click.option("--threads", type=click.IntRange(1), default=os.cpu_count() or 1, show_default=True)
def release(model: Path, out: Path, data: Path, version: str, threads: int) -> None:
    """Write, calibrate, measure and compare; OUT is the release directory."""
    from export.release import write_release

    try:
        written = write_release(
            model, out, data, version, threads, lambda line: click.echo(line, err=True)
        )
    except (ExportError, DatasetError) as exc:
        raise click.ClickException(str(exc)) from exc
    click.echo(written)


if __name__ == "__main__":
    main()
