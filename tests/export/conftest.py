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
WriteRelease = Callable[..., Path]

STEPS = 180
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
def pair(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from export.pair import write_pair

    return write_pair(
        model, tmp_path_factory.mktemp("pairs") / "tiny", "tiny", lambda line: None
    ).folder


@pytest.fixture(scope="session")
def gate(model: Path, pair: Path, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from export.card import DEMONSTRATION, read_card
    from export.gate import run_gate

    out = tmp_path_factory.mktemp("gate")
    run_gate(model, pair, out, data, read_card(DEMONSTRATION), 99, 1, lambda line: None)
    return out


@pytest.fixture(scope="session")
def passed(gate: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The gate's verdict as of a model that has learnt its labels: this one is so unsure that the
    captions it writes by itself and with the likeliest label given are not the same."""
    folder = tmp_path_factory.mktemp("passed") / "gate"
    shutil.copytree(gate, folder)
    set_found(folder, "caption_similarity", 1.0)
    return folder


def set_found(gate: Path, measure: str, value: float) -> None:
    """Let a verdict say that it found another value."""
    from export.gate import RESULT

    verdict = json.loads((gate / RESULT).read_text(encoding="utf-8"))
    (check,) = (check for check in verdict["checks"] if check["measure"] == measure)
    check["found"] = value
    (gate / RESULT).write_text(json.dumps(verdict), encoding="utf-8")


@pytest.fixture(scope="session")
def write(model: Path, pair: Path, passed: Path, data: Path) -> WriteRelease:
    """Release the tiny pair at the path given; what is given by name takes another's place."""
    from export.card import DEMONSTRATION, read_card
    from export.release import write_release

    def written(out: Path, **others: Any) -> Path:
        asked: dict[str, Any] = {
            "model": model,
            "pair_folder": pair,
            "gate": passed,
            "out": out,
            "data": data,
            "card": read_card(DEMONSTRATION),
            "version": "0.0.1",
            "threads": 1,
            "say": lambda line: None,
        }
        return write_release(**(asked | others))

    return written


@pytest.fixture(scope="session")
def release(write: WriteRelease, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("releases") / "tiny")


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
