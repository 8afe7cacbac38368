"""The verb `qlora`: read the recipe, load the base, gather what it learns from, train."""

from pathlib import Path

import click

from training.qlora.recipe import read_qlora_recipe


@click.command()
@click.option(
    "--config",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    required=True,
    help="Recipe (TOML), for example training/configs/medgemma-4b-it.toml.",
)
@click.option(
    "--data",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    required=True,
    help="Folder with the three data sets.",
)
@click.option(
    "--captions",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    required=True,
    help="captions.jsonl, as `teach` writes it.",
)
@click.option(
    "--run",
    type=click.Path(file_okay=False, path_type=Path),
    required=True,
    help="Folder for checkpoints, kept images and the adapter.",
)
def qlora(config: Path, data: Path, captions: Path, run: Path) -> None:
    """Fine-tune an adapter on captions; resumes where it was stopped."""
    from training.datasets import DatasetError
    from training.qlora.material import gather, read_captions
    from training.qlora.train import add_adapter, load_base, train_adapter
    from training.tokenizer import load_tokenizer

    def say(line: str) -> None:
        click.echo(line, err=True)

    recipe = read_qlora_recipe(config)
    try:
        captioned = read_captions(captions, data)
        base = load_base(recipe.base, recipe.quantization)
    except (DatasetError, OSError) as exc:
        raise click.ClickException(str(exc)) from exc
    material = gather(base, load_tokenizer(Path(recipe.base)), recipe, captioned, data, run, say)
    click.echo(train_adapter(add_adapter(base, recipe), recipe, material, run, say))
