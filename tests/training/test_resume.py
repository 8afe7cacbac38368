"""Claims about stopping: a run that was stopped ends with the weights of one that was not."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.training.tiny import RECIPE, every_label, with_steps, write_datasets
from training import captioner, tower
from training.captioner import train_captioner
from training.recipe import Recipe
from training.tower import train_tower

Train = Callable[[Recipe, Path, Path, Callable[[str], None]], Path]

SHORT = 4
TOWER_STEPS = tower.SAVE_EVERY_STEPS + 2
CAPTIONER_STEPS = captioner.SAVE_EVERY_STEPS + 2


class Stopped(Exception):
    """The run was interrupted at its first report, when a checkpoint is on disk."""


def stop_at_first_report(line: str) -> None:
    if line.startswith("step"):
        raise Stopped


def same_weights(one: Path, other: Path) -> bool:
    a, b = load_file(one), load_file(other)
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def reported(train: Train, recipe: Recipe, data: Path, run: Path) -> tuple[Path, list[str]]:
    """What the run made, and the lines it said."""
    lines: list[str] = []
    return train(recipe, data, run, lines.append), lines


@pytest.fixture(scope="module")
def short_run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose tower is trained."""
    run = tmp_path_factory.mktemp("run")
    train_tower(with_steps(RECIPE, tower=SHORT, captioner=SHORT), data, run, lambda line: None)
    return run


def test_a_stopped_tower_goes_on_to_the_same_weights(data: Path, tmp_path: Path) -> None:
    recipe = with_steps(RECIPE, tower=TOWER_STEPS, captioner=1)
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    expected = train_tower(recipe, data, whole, lambda line: None)
    with pytest.raises(Stopped):
        train_tower(recipe, data, stopped, stop_at_first_report)
    assert not (stopped / "tower.safetensors").exists()
    found, lines = reported(train_tower, recipe, data, stopped)
    assert f"{TOWER_STEPS} steps, from {TOWER_STEPS - 2}" in lines[0]
    assert same_weights(found, expected)


def test_a_stopped_captioner_goes_on_to_the_same_weights(
    data: Path, short_run: Path, tmp_path: Path
) -> None:
    recipe = with_steps(RECIPE, tower=SHORT, captioner=CAPTIONER_STEPS)
    folders = []
    for name in ("whole", "stopped"):
        run = tmp_path / name
        run.mkdir()
        (run / "tower.safetensors").write_bytes((short_run / "tower.safetensors").read_bytes())
        if name == "stopped":
            with pytest.raises(Stopped):
                train_captioner(recipe, data, run, stop_at_first_report)
            assert not (run / "captioner" / "model.safetensors").exists()
        folder, lines = reported(train_captioner, recipe, data, run)
        folders.append(folder)
    assert f"{CAPTIONER_STEPS} steps, from {CAPTIONER_STEPS - 2}" in lines[0]
    assert same_weights(*(folder / "model.safetensors" for folder in folders))
    tokenizers = [(folder / "tokenizer.json").read_bytes() for folder in folders]
    assert tokenizers[0] == tokenizers[1]


def test_a_finished_tower_is_not_trained_again(data: Path, short_run: Path) -> None:
    before = load_file(short_run / "tower.safetensors")
    recipe = with_steps(RECIPE, tower=SHORT, captioner=SHORT)
    found, lines = reported(train_tower, recipe, data, short_run)
    assert len(lines) == 1
    after = load_file(found)
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_another_seed_is_another_tower(data: Path, short_run: Path, tmp_path: Path) -> None:
    recipe = replace(with_steps(RECIPE, tower=SHORT, captioner=SHORT), seed=1)
    other = train_tower(recipe, data, tmp_path, lambda line: None)
    assert not same_weights(other, short_run / "tower.safetensors")


def test_a_tower_at_rest_reaches_the_captioner_unchanged(data: Path, short_run: Path) -> None:
    recipe = with_steps(RECIPE, tower=SHORT, captioner=2)
    recipe = replace(recipe, captioner=replace(recipe.captioner, tower_learning_rate=0.0))
    folder = train_captioner(recipe, data, short_run, lambda line: None)
    trained = load_file(short_run / "tower.safetensors")
    stored = load_file(folder / "model.safetensors")
    towers = {name: tensor for name, tensor in stored.items() if "vision_tower" in name}
    assert len(towers) == sum(name.startswith("tower.") for name in trained)
    for name, tensor in towers.items():
        assert torch.equal(tensor, trained["tower." + name.partition("vision_tower.")[2]])


def test_a_label_without_a_training_picture_is_an_error(tmp_path: Path) -> None:
    rows = every_label()
    for row in rows["ham10000"]:
        if row["label"] == "df":
            row["split"] = "test"
    data = tmp_path / "data"
    data.mkdir()
    write_datasets(data, rows)
    recipe = with_steps(RECIPE, tower=1, captioner=1)
    with pytest.raises(ValueError, match="dermatofibroma"):
        train_tower(recipe, data, tmp_path / "run", lambda line: None)
