"""`python -m training`: each verb is one recipe or one measurement."""

import json
import os
from pathlib import Path

import click

from training.qlora.command import qlora
from training.recipe import Recipe, read_recipe
from training.teach.command import teach

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


main.add_command(teach)
main.add_command(qlora)


@main.command()
@data_option
@config_option
@run_option
def tower(data: Path, config: Path, run: Path) -> None:
    """Train the vision tower as a classifier, from scratch."""
    from training.tower import train_tower

    recipe: Recipe = read_recipe(config)
    click.echo(train_tower(recipe, data, run, lambda line: click.echo(line, err=True)))


@main.command()
@data_option
@config_option
@run_option
def captioner(data: Path, config: Path, run: Path) -> None:
    """Train the captioner on the tower that `tower` made."""
    from training.captioner import train_captioner

    recipe: Recipe = read_recipe(config)
    click.echo(train_captioner(recipe, data, run, lambda line: click.echo(line, err=True)))


@main.command()
@click.argument("release", type=click.Path(exists=True, file_okay=False, path_type=Path))
@data_option
@click.option("--per-domain", type=click.IntRange(1), help="Only so many images of each domain.")
@click.option("--json", "as_json", is_flag=True, help="All figures, as one JSON object.")
def evaluate(release: Path, data: Path, per_domain: int | None, as_json: bool) -> None:
    """Measure a release directory on the test split."""
    from appliance.release.manifest import read_release
    from appliance.wiring import open_captioner
    from training.evaluate import ask_release, read_questions
    from training.evaluate import evaluate as score

    found = read_release(release)
    questions = read_questions(data, "test", found.card.image_size, per_domain)
    with open_captioner(found, os.cpu_count() or 1) as captioner:
        answers = ask_release(captioner, questions, lambda line: click.echo(line, err=True))
    figures = score(found.card.labels, questions, answers)
    if as_json:
        click.echo(json.dumps(figures))
        return
    click.echo(
        f"JSON valid {figures['json_valid']:.3f}, domain right {figures['domain_right']:.3f}"
    )
    for domain, row in figures["domains"].items():
        low, high = row["accuracy_interval"]
        click.echo(
            f"{domain:<7} n {row['images']:>5}  accuracy {row['accuracy']:.3f} "
            f"({low:.3f}-{high:.3f})  balanced {row['balanced_accuracy']:.3f}  F1 {row['f1']:.3f}"
        )


if __name__ == "__main__":
    main()
