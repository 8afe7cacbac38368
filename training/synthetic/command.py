"""The verbs `synthetic train`, `draw` and `measure`."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from training.options import FILE, RUN, captions_option, data_option, release_option, say
from training.synthetic.recipe import DEMONSTRATION

if TYPE_CHECKING:
    from appliance.core.atlas import Towers
    from appliance.release.atlas_heads import Heads
    from training.atlas.material import Floats

AT_ONCE = 16
"""Pictures drawn together."""

config_option = click.option(
    "--config", type=FILE, default=DEMONSTRATION, show_default="the demonstration model"
)
run_option = click.option("--run", type=RUN, default=Path(".runs/synthetic"), show_default=True)
heads_option = click.option(
    "--heads",
    "heads_file",
    type=FILE,
    help="The atlas's space, as `atlas heads` wrote it (default: that of the atlas that ships).",
)


@click.group()
def synthetic() -> None:
    """Pictures drawn by a diffusion model from a label and a caption, marked as synthetic."""


@synthetic.command()
@data_option
@captions_option
@config_option
@heads_option
@release_option
@run_option
def train(
    data: Path,
    captions: Path,
    config: Path,
    heads_file: Path | None,
    release: Path | None,
    run: Path,
) -> None:
    """Train a drawing model; resumes where it was stopped."""
    from training.plain_errors import plain_errors
    from training.synthetic.material import gather_pictures
    from training.synthetic.recipe import PixelRecipe, read_synthetic_recipe
    from training.synthetic.train import Learner, train_drawing

    with plain_errors(OSError, ValueError):
        recipe = read_synthetic_recipe(config)
        material = gather_pictures(data, captions, run, recipe.steps)
        learner: Learner
        if isinstance(recipe, PixelRecipe):
            from training.synthetic.pixel_model import PixelLearner

            with space(release, heads_file) as (towers, heads):
                vectors = vectors_of(towers, heads)(material.texts)
            learner = PixelLearner(recipe, material, vectors)
        else:
            from training.synthetic.stable_model import StableLearner

            learner = StableLearner(recipe, material)
        click.echo(train_drawing(learner, recipe, material, run, say))


@synthetic.command()
@config_option
@heads_option
@release_option
@run_option
@click.argument("out", type=RUN)
@click.option("--label", help="What to draw, one of training/labels.toml.")
@click.option("--caption", help="What it shows, in words.")
@click.option("--count", type=click.IntRange(1), default=4, show_default=True)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of the first.")
def draw(
    config: Path,
    heads_file: Path | None,
    release: Path | None,
    run: Path,
    out: Path,
    label: str | None,
    caption: str | None,
    count: int,
    seed: int,
) -> None:
    """Draw pictures into OUT, marked as synthetic, each with a card beside it."""
    from training.labels import TABLE, label_set
    from training.plain_errors import plain_errors
    from training.synthetic.drawing import Wanted, open_painter
    from training.synthetic.publish import origin_of, publish
    from training.synthetic.recipe import read_synthetic_recipe

    if not label and not caption:
        raise click.UsageError("say what to draw: --label, --caption or both")
    if label and label not in label_set().names:
        raise click.UsageError(f"--label: {label!r} is none of {TABLE.name}")
    with plain_errors(OSError, ValueError):
        recipe = read_synthetic_recipe(config)
        with space(release, heads_file) as (towers, heads):
            painter = open_painter(recipe, run, vectors_of(towers, heads))
            origin = origin_of(recipe, run)
            for start in range(seed, seed + count, AT_ONCE):
                seeds = range(start, min(start + AT_ONCE, seed + count))
                wanted = [Wanted(label, caption, each) for each in seeds]
                for file in publish(painter.paint(wanted), wanted, origin, out):
                    click.echo(file)


@synthetic.command("measure")
@data_option
@captions_option
@config_option
@heads_option
@release_option
@run_option
@click.option(
    "--convnet", type=FILE, required=True, help="convnet.safetensors, which reads labels."
)
@click.option("--per-label", type=click.IntRange(2), default=12, show_default=True)
def measure_drawings(
    data: Path,
    captions: Path,
    config: Path,
    heads_file: Path | None,
    release: Path | None,
    run: Path,
    convnet: Path,
    per_label: int,
) -> None:
    """What its drawings are worth, beside real pictures; writes RUN/measured.json."""
    import json

    from training.convnet import load_convnet
    from training.labels import label_set
    from training.plain_errors import plain_errors
    from training.synthetic.drawing import open_painter
    from training.synthetic.material import gather_pictures
    from training.synthetic.measure import Eyes, copy_rows, measure, table
    from training.synthetic.publish import origin_of
    from training.synthetic.recipe import read_synthetic_recipe

    with (
        plain_errors(OSError, ValueError),
        space(release, heads_file) as (towers, heads),
    ):
        recipe = read_synthetic_recipe(config)
        material = gather_pictures(data, captions, run, recipe.steps)
        in_space = vectors_of(towers, heads)
        learnt = [material.pixels[material.places[row]] for row in material.train]
        reader = load_convnet(convnet, len(label_set()))
        eyes = Eyes(towers, heads, reader, copy_rows(learnt))
        painter, origin = open_painter(recipe, run, in_space), origin_of(recipe, run)
        kept = run / f"looked-{origin.model_sha256[:12]}-{per_label}"
        found = measure(
            painter, eyes, material, in_space(material.texts), per_label, origin.side, kept, say
        )
    for line in table(found):
        say(line)
    file = run / "measured.json"
    file.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    click.echo(file)


@contextmanager
def space(release: Path | None, heads_file: Path | None) -> "Iterator[tuple[Towers, Heads]]":
    """The towers of a release, and the heads that bring their features into the atlas's space."""
    from appliance.release import atlas_files, shelf
    from appliance.release.atlas_heads import HEADS, read_heads
    from appliance.wiring import open_towers

    file = heads_file or atlas_files.BUILT_IN / HEADS
    with open_towers(release or shelf.BUILT_IN, 1) as towers:
        yield towers, read_heads(file.read_bytes())


def vectors_of(towers: "Towers", heads: "Heads") -> "Callable[[Sequence[str]], Floats]":
    """Captions to unit vectors of the atlas's space, (captions, dimensions)."""
    from training.atlas.material import text_features

    return lambda texts: heads.text.project(text_features(towers, texts))
