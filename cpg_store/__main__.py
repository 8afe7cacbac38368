"""`python -m cpg_store`: measure the search, make and check embedders.

Parses, calls, prints: data on stdout, the rest on stderr.
"""

import json
import sys
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import click

from cpg_store.errors import CpgStoreError

if TYPE_CHECKING:
    from collections.abc import Iterator

_FOLDER = click.Path(path_type=Path, file_okay=False)


@click.group()
def main() -> None:
    """The guideline store's own commands."""


@main.command()
@click.argument("folder", type=_FOLDER)
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
@click.option("--embedder", type=_FOLDER, help="A sentence model's folder; else the installed one.")
@click.option("--per-query", type=click.Path(path_type=Path, dir_okay=False), help="File to write.")
def evaluate(folder: Path, as_json: bool, embedder: Path | None, per_query: Path | None) -> None:
    """Measure the search on the retrieval set in FOLDER (BEIR's form)."""
    from cpg_store import evaluate as evaluation
    from cpg_store.embed import Embedder

    with _plain_errors(), TemporaryDirectory() as workplace:
        if per_query and per_query.exists():
            raise click.UsageError(f"it exists already: {per_query}")
        model = Embedder.from_folder(embedder) if embedder else Embedder.default()
        figures = evaluation.evaluate(folder, Path(workplace), model, _say)
        found = evaluation.summary(figures)
        if per_query:
            evaluation.write_per_query(per_query, figures)
    if as_json:
        plain = {
            name: {way: asdict(each) for way, each in of.items()} for name, of in found.items()
        }
        click.echo(json.dumps({"queries": len(figures) // len(evaluation.WAYS), **plain}))
        return
    for name, of in found.items():
        for way, each in of.items():
            click.echo(f"{name:16} {way:8} {each.mean:.3f} ({each.low:.3f} to {each.high:.3f})")


@main.group()
def embedder() -> None:
    """Sentence models that the index can be made with."""


@embedder.command()
@click.argument("folder", type=_FOLDER)
@click.argument("out", type=_FOLDER)
def build(folder: Path, out: Path) -> None:
    """Make OUT of the sentence-transformers model in FOLDER that has its ONNX graph with it."""
    from cpg_store.embedder import build_embedder

    with _plain_errors():
        build_embedder(folder, out)
    click.echo(out)


@embedder.command()
@click.argument("folder", type=_FOLDER)
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def check(folder: Path, as_json: bool) -> None:
    """Check that the index can be made with the embedder in FOLDER."""
    from cpg_store.embedder import check_embedder

    with _plain_errors():
        found = check_embedder(folder)
    if as_json:
        click.echo(json.dumps(asdict(found)))
    else:
        for name, value in asdict(found).items():
            click.echo(f"{name}: {value}")


@contextmanager
def _plain_errors() -> "Iterator[None]":
    try:
        yield
    except CpgStoreError as exc:
        _say(f"error: {exc.message}")
        _say(f"hint: {exc.hint}")
        sys.exit(1)


def _say(line: str) -> None:
    click.echo(line, err=True)


if __name__ == "__main__":
    main(prog_name="python -m cpg_store")
