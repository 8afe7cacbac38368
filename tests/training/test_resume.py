"""Claims about stopping: a run that was stopped ends with the weights of one that was not."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.training.tiny import RECIPE, every_label, with_steps, with_teacher, write_datasets
from training import captioner, convnet, tower
from training.captioner import train_captioner
from training.convnet import CONVNET, train_convnet
from training.datasets import read_examples
from training.efficientnet import EfficientNetLite0
from training.labels import label_table
from training.measured.captions import write_captions
from training.pixels import load_pixels
from training.recipe import Recipe, RecipeError
from training.tower import TOWER, train_tower

Train = Callable[[Recipe, Path, Path, Path, Callable[[str], None]], Path]

SHORT = 4
KEPT_AT = 4
STEPS = KEPT_AT + 2


class Stopped(Exception):
    """The run was interrupted at its first report, when a checkpoint is on disk."""


def stop_at_first_report(line: str) -> None:
    if line.startswith("step"):
        raise Stopped


def same_weights(one: Path, other: Path) -> bool:
    a, b = load_file(one), load_file(other)
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def silent(line: str) -> None:
    pass


def reported(
    train: Train, recipe: Recipe, data: Path, captions: Path, run: Path
) -> tuple[Path, list[str]]:
    """What the run made, and the lines it said."""
    lines: list[str] = []
    return train(recipe, data, captions, run, lines.append), lines


@pytest.fixture(autouse=True)
def kept_early(monkeypatch: pytest.MonkeyPatch) -> None:
    for recipe in (convnet, tower, captioner):
        monkeypatch.setattr(recipe, "SAVE_EVERY_STEPS", KEPT_AT)


@pytest.fixture(scope="module")
def captions(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_captions(data, tmp_path_factory.mktemp("captions") / "captions.jsonl", print)


@pytest.fixture(scope="module")
def short_run(data: Path, captions: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose tower is trained."""
    run = with_teacher(tmp_path_factory.mktemp("run"))
    train_tower(with_steps(RECIPE, tower=SHORT, captioner=SHORT), data, captions, run, silent)
    return run


def test_a_stopped_tower_goes_on_to_the_same_weights(
    data: Path, captions: Path, tmp_path: Path
) -> None:
    recipe = with_steps(RECIPE, tower=STEPS, captioner=1)
    whole, stopped = (with_teacher(tmp_path / name) for name in ("whole", "stopped"))
    expected = train_tower(recipe, data, captions, whole, silent)
    with pytest.raises(Stopped):
        train_tower(recipe, data, captions, stopped, stop_at_first_report)
    assert not (stopped / "tower.safetensors").exists()
    found, lines = reported(train_tower, recipe, data, captions, stopped)
    assert f"{STEPS} steps, from {KEPT_AT}" in lines[0]
    assert same_weights(found, expected)


def test_a_stopped_captioner_goes_on_to_the_same_weights(
    data: Path, captions: Path, short_run: Path, tmp_path: Path
) -> None:
    recipe = with_steps(RECIPE, tower=SHORT, captioner=STEPS)
    folders = []
    for name in ("whole", "stopped"):
        run = tmp_path / name
        run.mkdir()
        (run / "tower.safetensors").write_bytes((short_run / "tower.safetensors").read_bytes())
        if name == "stopped":
            with pytest.raises(Stopped):
                train_captioner(recipe, data, captions, run, stop_at_first_report)
            assert not (run / "captioner" / "model.safetensors").exists()
        folder, lines = reported(train_captioner, recipe, data, captions, run)
        folders.append(folder)
    assert f"{STEPS} steps, from {KEPT_AT}" in lines[0]
    assert same_weights(*(folder / "model.safetensors" for folder in folders))
    tokenizers = [(folder / "tokenizer.json").read_bytes() for folder in folders]
    assert tokenizers[0] == tokenizers[1]


def test_a_stopped_convnet_goes_on_to_the_same_weights(data: Path, tmp_path: Path) -> None:
    recipe = with_steps(RECIPE, tower=1, captioner=1)
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    expected = train_convnet(recipe, data, whole, silent)
    with pytest.raises(Stopped):
        train_convnet(recipe, data, stopped, stop_at_first_report)
    lines: list[str] = []
    found = train_convnet(recipe, data, stopped, lines.append)
    assert f"from {KEPT_AT}" in lines[0]
    assert same_weights(found, expected)


def test_a_finished_tower_is_not_trained_again(data: Path, captions: Path, short_run: Path) -> None:
    before = load_file(short_run / "tower.safetensors")
    recipe = with_steps(RECIPE, tower=SHORT, captioner=SHORT)
    found, lines = reported(train_tower, recipe, data, captions, short_run)
    assert len(lines) == 1
    after = load_file(found)
    assert all(torch.equal(before[name], after[name]) for name in before)


def refused(train: Train, recipe: Recipe, data: Path, captions: Path, run: Path) -> str:
    """What it says; nothing in `run` is another than before."""
    before = {file: file.read_bytes() for file in run.rglob("*") if file.is_file()}
    with pytest.raises(RecipeError, match="begun with another recipe or other inputs") as caught:
        train(recipe, data, captions, run, silent)
    assert before == {file: file.read_bytes() for file in run.rglob("*") if file.is_file()}
    return str(caught.value).partition("(")[2].partition(")")[0]


def test_a_convnet_of_another_seed_or_data_is_not_gone_on_with(
    data: Path, captions: Path, tmp_path: Path
) -> None:
    recipe = with_steps(RECIPE, tower=1, captioner=1)
    short = replace(recipe, convnet=replace(recipe.convnet, epochs=0.01))
    run, other = tmp_path / "run", tmp_path / "other"

    def train(recipe: Recipe, data: Path, captions: Path, run: Path, say: Any) -> Path:
        return train_convnet(recipe, data, run, say)

    train(short, data, captions, run, silent)
    assert refused(train, replace(short, seed=1), data, captions, run) == "seed"
    other.mkdir()
    write_datasets(other, {**every_label(), "ham10000": every_label()["ham10000"][::-1]})
    load_pixels(other, read_examples(other)[0], run)  # their pixels are kept there, too
    assert refused(train, short, other, captions, run) == "ham10000_sha256"


def test_a_tower_of_another_seed_teacher_or_captions_is_not_gone_on_with(
    data: Path, captions: Path, short_run: Path, tmp_path: Path
) -> None:
    recipe = with_steps(RECIPE, tower=SHORT, captioner=SHORT)
    run = shutil.copytree(short_run, tmp_path / "run")
    other_captions = tmp_path / "other.jsonl"
    other_captions.write_text(captions.read_text().replace("supportive", "good"))
    assert refused(train_tower, replace(recipe, seed=1), data, captions, run) == "seed"
    assert refused(train_tower, recipe, data, other_captions, run) == "captions_sha256"
    torch.manual_seed(1)
    save_file(EfficientNetLite0(len(label_table())).state_dict(), run / CONVNET)
    assert refused(train_tower, recipe, data, captions, run) == "convnet_sha256"


def test_a_captioner_of_another_tower_or_captions_is_not_gone_on_with(
    data: Path, captions: Path, short_run: Path, tmp_path: Path
) -> None:
    recipe = with_steps(RECIPE, tower=SHORT, captioner=1)
    run = shutil.copytree(short_run, tmp_path / "run")
    shutil.rmtree(run / "captioner", ignore_errors=True)
    (run / "captioner.checkpoint").unlink(missing_ok=True)
    train_captioner(recipe, data, captions, run, silent)
    other_captions = tmp_path / "other.jsonl"
    other_captions.write_text(captions.read_text().replace("supportive", "good"))
    assert refused(train_captioner, replace(recipe, seed=1), data, captions, run) == "seed"
    assert refused(train_captioner, recipe, data, other_captions, run) == "captions_sha256"
    weights = {name: weight + 1 for name, weight in load_file(run / TOWER).items()}
    save_file(weights, run / TOWER)
    assert refused(train_captioner, recipe, data, captions, run) == "tower_sha256"


def test_another_seed_is_another_tower(
    data: Path, captions: Path, short_run: Path, tmp_path: Path
) -> None:
    recipe = replace(with_steps(RECIPE, tower=SHORT, captioner=SHORT), seed=1)
    other = train_tower(recipe, data, captions, with_teacher(tmp_path), silent)
    assert not same_weights(other, short_run / "tower.safetensors")


def test_the_tower_reaches_the_captioner_unchanged(
    data: Path, captions: Path, short_run: Path
) -> None:
    recipe = with_steps(RECIPE, tower=SHORT, captioner=2)
    folder = train_captioner(recipe, data, captions, short_run, silent)
    trained = load_file(short_run / "tower.safetensors")
    stored = load_file(folder / "model.safetensors")
    towers = {name: tensor for name, tensor in stored.items() if "vision_tower" in name}
    assert len(towers) == sum(name.startswith("tower.") for name in trained)
    for name, tensor in towers.items():
        assert torch.equal(tensor, trained["tower." + name.partition("vision_tower.")[2]])


def test_a_label_without_a_training_picture_is_an_error(captions: Path, tmp_path: Path) -> None:
    rows = every_label()
    for row in rows["ham10000"]:
        if row["label"] == "df":
            row["split"] = "test"
    data = tmp_path / "data"
    data.mkdir()
    write_datasets(data, rows)
    recipe = with_steps(RECIPE, tower=1, captioner=1)
    with pytest.raises(ValueError, match="dermatofibroma"):
        train_tower(recipe, data, captions, with_teacher(tmp_path / "run"), silent)
