"""What the verbs ask for alike: kinds of places, options, and where their progress is said.

Each verb's own options stand beside it.
"""

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import click

FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)
FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
RUN = click.Path(file_okay=False, path_type=Path)
"""A folder that need not be there yet."""

data_option = click.option(
    "--data",
    type=FOLDER,
    required=True,
    help="Folder with ham10000.parquet, odir5k.parquet and kermany_cxr.parquet.",
)
captions_option = click.option(
    "--captions", type=FILE, required=True, help="captions.jsonl, as `measured captions` writes it."
)
release_option = click.option(
    "--release", type=FOLDER, help="Release whose tower it is (default: the built-in)."
)

optional_data_option = click.option("--data", type=FOLDER, help="Folder with the three data sets.")
"""Of the verbs with a dry run, which can do without."""

Verb = TypeVar("Verb", bound=Callable[..., object])


def dry_run_options(verb: Verb) -> Verb:
    """--dry-run, and what its estimate of the time assumes."""
    for option in (
        click.option(
            "--utilisation",
            type=click.FloatRange(0, 1, min_open=True),
            default=0.3,
            show_default=True,
            help="Share of that speed which the dry run assumes.",
        ),
        click.option(
            "--tflops",
            type=click.FloatRange(0, min_open=True),
            default=312.0,
            show_default="312, an A100's in bfloat16",
            help="Peak speed of the accelerator that the dry run's time is for.",
        ),
        click.option(
            "--dry-run", is_flag=True, help="Print memory, tokens and time; load nothing."
        ),
    ):
        verb = option(verb)
    return verb


def all_given(
    data: Path | None, captions: Path | None, run: Path | None
) -> tuple[Path, Path, Path]:
    """Raises: click.UsageError when one is missing, which only a dry run can do without."""
    if data is None or captions is None or run is None:
        raise click.UsageError("--data, --captions and --run are needed, unless --dry-run")
    return data, captions, run


def say(line: str) -> None:
    """Progress, on stderr."""
    click.echo(line, err=True)
