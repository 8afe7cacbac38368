"""Checkpoints of a run: written aside and renamed, so that a kill leaves the last whole one."""

from pathlib import Path
from typing import Any


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    import torch

    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    torch.save(state, partial)
    partial.rename(path)


def load_checkpoint(path: Path) -> dict[str, Any] | None:
    """The state last saved at `path`, or None. Tensors and plain values only, never code."""
    import torch

    if not path.is_file():
        return None
    state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return state
