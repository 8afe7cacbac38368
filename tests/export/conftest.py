"""A tiny model trained until its captions parse, and its release, once a session."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

ConfigChange = Callable[[dict[str, Any]], None]
CopyModel = Callable[..., Path]

STEPS = 120
"""Enough for captions that parse; labels stay uncertain, so scores have something to differ in."""


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """So small a model is slower with more, above all where other work holds the cores."""
    import torch  # slow

    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tests.training.tiny import every_label, write_datasets

    return write_datasets(tmp_path_factory.mktemp("data"), every_label())


@pytest.fixture(scope="session")
def run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training run: the tower's file, and the model in `captioner`."""
    from tests.training.tiny import RECIPE, with_steps, with_teacher
    from training.captioner import train_captioner
    from training.measured.captions import write_captions
    from training.tower import train_tower

    recipe = replace(
        RECIPE,
        geometry=replace(RECIPE.geometry, text_depth=2, vocabulary=1024),
        tower=replace(RECIPE.tower, batch_size=8),
        captioner=replace(RECIPE.captioner, batch_size=8, learning_rate=3e-3),
    )
    recipe = with_steps(recipe, tower=4, captioner=STEPS)
    folder = with_teacher(tmp_path_factory.mktemp("run"))
    captions = write_captions(data, folder / "captions.jsonl", lambda line: None)
    train_tower(recipe, data, captions, folder, lambda line: None)
    train_captioner(recipe, data, captions, folder, lambda line: None)
    return folder


@pytest.fixture(scope="session")
def model(run: Path) -> Path:
    return run / "captioner"


@pytest.fixture(scope="session")
def release(model: Path, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from export.release import write_release

    out = tmp_path_factory.mktemp("releases") / "tiny"
    return write_release(model, out, data, "0.0.1", 1, lambda line: None)


@pytest.fixture
def copy_model(model: Path, tmp_path: Path) -> CopyModel:
    """A copy of the model's folder, its config.json changed by the function given."""

    def copy(change: ConfigChange = lambda config: None) -> Path:
        folder = tmp_path / "model"
        shutil.copytree(model, folder)
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        change(config)
        (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
        return folder

    return copy


@pytest.fixture(scope="session")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model folder spelled as the published ones are."""
    from tests.export.published import TINY, random_weights, write_folder

    return write_folder(tmp_path_factory.mktemp("published") / "tiny", TINY, random_weights())


@pytest.fixture
def copied(published: Path, tmp_path: Path) -> Path:
    """A copy of it to spoil."""
    return Path(shutil.copytree(published, tmp_path / "copied"))
