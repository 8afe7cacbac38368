"""Checkpoints of a run: written aside and renamed, so that a kill leaves the last whole one."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from training.recipe import RecipeError

Followed = Mapping[str, Any]
"""What a run goes by: its recipe, and the hashes of what it learns from and begins with."""


class Stateful(Protocol):
    """A model, an optimizer, a running average."""

    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state_dict: dict[str, Any], /) -> Any: ...


def resume(path: Path, followed: Followed, parts: dict[str, Stateful]) -> int:
    """Bring `parts` back to where the run stood; returns how many steps it had done, 0 if new.

    Raises: RecipeError, as `load_checkpoint`.
    """
    state = load_checkpoint(path, followed)
    if state is None:
        return 0
    for name, part in parts.items():
        part.load_state_dict(state[name])
    return int(state["step"])


def keep(path: Path, followed: Followed, parts: dict[str, Stateful], step: int) -> None:
    """Keep `parts` of a run that has done `step` steps."""
    states = {name: part.state_dict() for name, part in parts.items()}
    save_checkpoint(path, followed, {**states, "step": step})


def save_checkpoint(path: Path, followed: Followed, state: dict[str, Any]) -> None:
    """Keep the `state` of a run."""
    import torch

    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    torch.save({**state, "recipe": dict(followed)}, partial)
    partial.rename(path)


def load_checkpoint(path: Path, followed: Followed) -> dict[str, Any] | None:
    """The state last saved at `path`, or None. Tensors and plain values only, never code.

    Raises: RecipeError when it was begun with another recipe or other inputs: its weights would be
    passed off as theirs, and optimizers restore their settings from it.
    """
    import torch

    if not path.is_file():
        return None
    state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    begun = state["recipe"]
    if begun != followed:
        other = sorted(key for key in {*begun, *followed} if begun.get(key) != followed.get(key))
        raise RecipeError(
            f"{path} was begun with another recipe or other inputs ({', '.join(other)}); bring "
            "those back, or delete it to begin anew"
        )
    return state


def weights_hash(folder: Path) -> str:
    """SHA-256 over the names and bytes of a folder's safetensors files."""
    digest = hashlib.sha256()
    for file in sorted(folder.glob("*.safetensors")):
        digest.update(file.name.encode())
        with file.open("rb") as opened:
            digest.update(hashlib.file_digest(opened, "sha256").digest())
    return digest.hexdigest()
