"""The verb `judge`: read the recipe and the key, print the estimate, run, print the figures."""

import json
import os
from importlib.util import find_spec
from pathlib import Path

import click

from training.options import FILE, FOLDER, say


@click.command()
@click.argument("folder", type=FOLDER)
@click.option(
    "--captions",
    type=FILE,
    required=True,
    help="The teacher's captions.jsonl: context and ground truth of every score.",
)
@click.option(
    "--config",
    type=FILE,
    required=True,
    help="Recipe (TOML); training/configs/judge.toml is one to start from.",
)
@click.option("--per-domain", type=click.IntRange(1), help="Only so many images of each domain.")
@click.option(
    "--retry-failed",
    is_flag=True,
    help="Ask again where the judge's answer was of no use, as after a change of the recipe.",
)
@click.option("--dry-run", is_flag=True, help="Print the estimate and ask nothing.")
@click.option("--json", "as_json", is_flag=True, help="All figures, as one JSON object.")
def judge(
    folder: Path,
    captions: Path,
    config: Path,
    per_domain: int | None,
    retry_failed: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Have a judge score the answers in FOLDER, which `evaluate` made, by RAGAS.

    Faithfulness, answer relevancy and answer correctness, with bootstrap intervals. FOLDER then
    holds judged.jsonl (a score a line; an interrupted run goes on there) and judged.json.

    Exit codes: 0 done; 1 no judge, no score, or the budget ended; 2 the recipe or its key.
    """
    from training.evaluation.embedder import EmbedderError
    from training.evaluation.judge import BudgetSpent, JudgeUnreachable
    from training.evaluation.judge_recipe import read_judge_recipe
    from training.evaluation.judged import figure_lines
    from training.evaluation.judging import estimate, judge_answers, make_plan
    from training.plain_errors import plain_errors
    from training.teach.endpoint import EndpointRefused

    with plain_errors(EmbedderError, EndpointRefused, JudgeUnreachable, OSError):
        recipe = read_judge_recipe(config)
        plan = make_plan(recipe, folder, captions, per_domain)
        say(estimate(plan))
        if dry_run:
            return
        _check_installed()
        key = _api_key(recipe.endpoint.api_key_variable)
        try:
            judged = judge_answers(plan, key, retry_failed, say)
        except BudgetSpent as exc:
            raise click.ClickException(
                f"the budget of {recipe.prices.budget:.2f} dollars ended the run; with a larger "
                "one it goes on from here and asks for no score twice"
            ) from exc
    click.echo(json.dumps(judged) if as_json else "\n".join(figure_lines(judged)))
    if not any(each["overall"]["scored"] for each in judged["metrics"].values()):
        raise click.ClickException(
            f"the judge {recipe.endpoint.model} gave no score at all; judged.jsonl says why, "
            "choose a stronger one"
        )


def _check_installed() -> None:
    if find_spec("ragas") is None:
        raise click.ClickException(
            "the package ragas is not installed; "
            "run .venv/bin/pip install -e '.[judge]' -c constraints.txt"
        )


def _api_key(name: str) -> str:
    from training.recipe import RecipeError

    if not name:
        return ""
    if not os.environ.get(name):
        raise RecipeError(f"the environment variable {name} with the judge's key is not set")
    return os.environ[name]
