"""The verbs `evaluate`, `compare` and `report`: parse, call, print."""

import json
import os
from pathlib import Path
from typing import get_args

import click

from training.datasets import Split
from training.options import FILE, FOLDER, RUN, data_option, say
from training.plain_errors import plain_errors


@click.command()
@click.argument("model", type=FOLDER)
@data_option
@click.option("--adapter", type=FOLDER, help="Adapter (peft) to put on a Hugging Face model.")
@click.option(
    "--split",
    type=click.Choice(get_args(Split)),
    default="test",
    show_default=True,
    help="Which images.",
)
@click.option(
    "--captions",
    type=FILE,
    help="captions.jsonl whose split is meant: that of `teach` is what `judge` has captions of.  "
    "[default: the data sets' own]",
)
@click.option("--per-domain", type=click.IntRange(1), help="Only so many images of each domain.")
@click.option(
    "--out",
    type=RUN,
    help="Folder for answers and figures; an interrupted evaluation goes on there.  "
    "[default: .runs/evaluation/MODEL-SPLIT, with --captions MODEL-captions-SPLIT]",
)
@click.option(
    "--threads",
    type=click.IntRange(1),
    default=os.cpu_count() or 1,
    show_default=True,
    help="Of a release; one is quickest for a small one.",
)
@click.option("--json", "as_json", is_flag=True, help="All figures, as one JSON object.")
def evaluate(
    model: Path,
    data: Path,
    adapter: Path | None,
    split: Split,
    captions: Path | None,
    per_domain: int | None,
    out: Path | None,
    threads: int,
    as_json: bool,
) -> None:
    """Measure MODEL, a release or a Hugging Face folder, on a split of the data.

    The folder of --out then holds answers.jsonl (one image a line) and figures.json.
    """
    from training.evaluation.run import run_evaluation
    from training.evaluation.subject import read_subject
    from training.evaluation.table import figure_lines
    from training.qlora.base import BaseModelError

    with plain_errors(BaseModelError, OSError):
        subject = read_subject(model, adapter, threads)
        name = f"{subject.name}-{'captions-' if captions else ''}{split}"
        folder = out or Path(".runs/evaluation") / name
        figures = run_evaluation(subject, data, split, per_domain, folder, say, captions)
    if as_json:
        click.echo(json.dumps(figures))
        return
    click.echo("\n".join(figure_lines(figures)))
    say(f"answers and figures are in {folder}")


@click.command()
@click.argument("before", type=FOLDER)
@click.argument("after", type=FOLDER)
@click.option("--json", "as_json", is_flag=True, help="The comparison, as one JSON object.")
def compare(before: Path, after: Path, as_json: bool) -> None:
    """Compare two folders of `evaluate` over the same images, BEFORE and AFTER.

    Written to comparison.json in AFTER too; `report` draws it.
    """
    from training.evaluation.answered import read_evaluation
    from training.evaluation.comparison import COMPARISON
    from training.evaluation.comparison import compare as compare_evaluations
    from training.evaluation.table import comparison_lines
    from training.whole_file import write_whole

    with plain_errors(OSError):
        found = compare_evaluations(read_evaluation(before), read_evaluation(after))
        write_whole(after / COMPARISON, json.dumps(found, indent=1, ensure_ascii=False) + "\n")
    click.echo(json.dumps(found) if as_json else "\n".join(comparison_lines(found)))


@click.command()
@click.argument("folder", type=FOLDER)
@click.option("--before", type=FOLDER, help="Folder of an earlier evaluation to compare with.")
@click.option("--data", type=FOLDER, help="The data sets, to show some of the images.")
@click.option(
    "--html",
    "file",
    type=click.Path(dir_okay=False, path_type=Path),
    required=True,
    help="The page to write; what is there already is kept.",
)
def report(folder: Path, before: Path | None, data: Path | None, file: Path) -> None:
    """Draw a folder of `evaluate` as one HTML page that needs no network.

    With --data the page holds patient images: keep it out of version control.
    """
    from training.evaluation.answered import read_evaluation
    from training.evaluation.comparison import compare as compare_evaluations
    from training.evaluation.examples import HOLDS_IMAGES, example_images
    from training.evaluation.figures import evaluate as measure
    from training.evaluation.page import report_page
    from training.whole_file import write_whole

    if file.exists():
        raise click.UsageError(f"there is something at {file} already; choose another file")
    with plain_errors(OSError):
        evaluation = read_evaluation(folder)
        comparison = compare_evaluations(read_evaluation(before), evaluation) if before else None
        figures = measure(evaluation.header.label_set, evaluation.images)
        examples = example_images(evaluation, data) if data else []
        write_whole(file, report_page(evaluation, figures, comparison, examples))
    if examples:
        say(f"{file} {HOLDS_IMAGES}")
    click.echo(file)
