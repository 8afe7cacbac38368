"""The verb `atlas`: `heads` learns its space, `joint` a retriever together with the reader."""

from pathlib import Path

import click

from training.atlas.recipe import DEMONSTRATION, JOINT
from training.options import (
    FILE,
    FOLDER,
    RUN,
    captions_option,
    data_option,
    release_option,
    say,
)

run_option = click.option("--run", type=RUN, default=Path(".runs/atlas"), show_default=True)
threads_option = click.option("--threads", type=click.IntRange(1), default=1, show_default=True)


@click.group()
def atlas() -> None:
    """The reference cases' space, and a retriever trained together with the reader."""


@atlas.command()
@data_option
@captions_option
@release_option
@click.option("--config", type=FILE, default=DEMONSTRATION, show_default="atlas.toml")
@run_option
@threads_option
def heads(
    data: Path, captions: Path, release: Path | None, config: Path, run: Path, threads: int
) -> None:
    """Learn the two heads; what they are worth on the test split is printed."""
    from appliance.release.atlas_heads import HEADS, write_heads
    from appliance.release.shelf import BUILT_IN
    from appliance.wiring import open_towers
    from training.atlas.heads import train_heads
    from training.atlas.material import gather_atlas
    from training.atlas.measure import measure, pixel_rows, reference_places, space_of, table
    from training.atlas.recipe import read_heads_recipe
    from training.plain_errors import plain_errors

    with plain_errors(), open_towers(release or BUILT_IN, threads) as towers:
        recipe = read_heads_recipe(config)
        material = gather_atlas(towers, data, captions, run, say)
    learnt = train_heads(recipe, material, say)
    write_heads(learnt, run / HEADS)
    space = space_of(learnt, material)
    references = reference_places(material, None)
    for line in table(measure(space, material, references, pixel_rows(material, data, run))):
        say(line)
    click.echo(run / HEADS)


@atlas.command()
@data_option
@captions_option
@click.option("--model", type=FOLDER, required=True, help="Hugging Face folder of the reader.")
@click.option("--heads", "heads_file", type=FILE, required=True, help="What `heads` wrote.")
@release_option
@click.option("--config", type=FILE, default=JOINT, show_default="atlas-joint.toml")
@run_option
@threads_option
def joint(
    data: Path,
    captions: Path,
    model: Path,
    heads_file: Path,
    release: Path | None,
    config: Path,
    run: Path,
    threads: int,
) -> None:
    """Tune the reader to read beside a case, then the retriever to find cases that help it."""
    import json

    from appliance.release.shelf import BUILT_IN
    from appliance.wiring import open_towers
    from training.atlas.joint import lines_of, read_joint_recipe, train_jointly
    from training.plain_errors import plain_errors

    with plain_errors(), open_towers(release or BUILT_IN, threads) as towers:
        recipe = read_joint_recipe(config)
        figures = train_jointly(recipe, model, towers, heads_file, data, captions, run, say)
    for line in lines_of(figures):
        say(line)
    (run / "joint.json").write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    click.echo(run / "joint.json")
