"""Claims about checkpoints: whole or not there, and data only."""

import pickle
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from training.checkpoint import load_checkpoint, save_checkpoint

PROJECT = Path(__file__).resolve().parents[2]

KILLED_WHILE_SAVING = """
import os, signal, sys
from pathlib import Path
import torch
from training.checkpoint import save_checkpoint

class Kill:
    def __reduce__(self):
        os.kill(os.getpid(), signal.SIGKILL)

save_checkpoint(Path(sys.argv[1]), {"epochs": 1}, {"step": 1, "model": {"weight": torch.ones(8)}})
save_checkpoint(
    Path(sys.argv[1]), {"epochs": 1}, {"step": 2, "model": {"w": torch.zeros(8), "end": Kill()}}
)
"""


RECIPE = {"epochs": 1}


class Trap:
    """Pickled code: unpickling it makes a file."""

    def __init__(self, evidence: Path) -> None:
        self.evidence = evidence

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.evidence,)


def test_a_state_comes_back_as_it_was_saved(tmp_path: Path) -> None:
    path = tmp_path / "run" / "tower.checkpoint"
    save_checkpoint(path, RECIPE, {"step": 3, "model": {"weight": torch.arange(4.0)}})
    state = load_checkpoint(path, RECIPE)
    assert state is not None
    assert state["step"] == 3
    assert state["model"]["weight"].tolist() == [0, 1, 2, 3]


def test_a_run_without_a_checkpoint_has_no_state(tmp_path: Path) -> None:
    assert load_checkpoint(tmp_path / "tower.checkpoint", RECIPE) is None


def test_a_kill_while_saving_leaves_the_last_whole_state(tmp_path: Path) -> None:
    path = tmp_path / "tower.checkpoint"
    killed = subprocess.run(
        [sys.executable, "-c", KILLED_WHILE_SAVING, path], cwd=PROJECT, check=False
    )
    assert killed.returncode == -signal.SIGKILL
    assert path.with_suffix(".partial").is_file()
    state = load_checkpoint(path, RECIPE)
    assert state is not None
    assert state["step"] == 1
    assert state["model"]["weight"].tolist() == [1] * 8
    save_checkpoint(path, RECIPE, {"step": 2})
    state = load_checkpoint(path, RECIPE)
    assert state is not None and state["step"] == 2


def test_code_in_a_checkpoint_is_refused_and_not_run(tmp_path: Path) -> None:
    path, evidence = tmp_path / "tower.checkpoint", tmp_path / "it-ran"
    torch.save({"step": 1, "recipe": RECIPE, "model": Trap(evidence)}, path)
    with pytest.raises(pickle.UnpicklingError):
        load_checkpoint(path, RECIPE)
    assert not evidence.exists()
    torch.load(path, weights_only=False)  # the trap is a real one
    assert evidence.exists()


def test_a_checkpoint_of_another_recipe_is_not_gone_on_from(tmp_path: Path) -> None:
    path = tmp_path / "tower.checkpoint"
    save_checkpoint(path, {"learning_rate": 1e-3}, {"step": 1})
    with pytest.raises(ValueError, match="another recipe"):
        load_checkpoint(path, {"learning_rate": 1e-4})
