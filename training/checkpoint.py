"""Checkpoints of a run: written aside and renamed, so that a kill leaves the last whole one."""

import hashlib
from pathlib import Path
from typing import Any, Protocol


class Stateful(Protocol):
    """A model, an optimizer, a running average."""

    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state_dict: dict[str, Any], /) -> Any: ...


def resume(path: Path, recipe: dict[str, Any], parts: dict[str, Stateful]) -> int:
    """Bring `parts` back to where the run stood; returns how many steps it had done, 0 if new.

    Raises: ValueError when it was begun with another recipe.
    """
    state = load_checkpoint(path, recipe)
    if state is None:
        return 0
    for name, part in parts.items():
        part.load_state_dict(state[name])
    return int(state["step"])


def keep(path: Path, recipe: dict[str, Any], parts: dict[str, Stateful], step: int) -> None:
    """Keep `parts` of a run that follows `recipe` and has done `step` steps."""
    states = {name: part.state_dict() for name, part in parts.items()}
    save_checkpoint(path, recipe, {**states, "step": step})


def save_checkpoint(path: Path, recipe: dict[str, Any], state: dict[str, Any]) -> None:
    """Keep `state` of a run that follows `recipe`."""
    import torch

    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    torch.save({**state, "recipe": recipe}, partial)
    partial.rename(path)


def load_checkpoint(path: Path, recipe: dict[str, Any]) -> dict[str, Any] | None:
    """The state last saved at `path`, or None. Tensors and plain values only, never code.

    Raises: ValueError when it was begun with another recipe: optimizers restore their settings
    from the checkpoint, so an edit would be ignored in silence.
    """
    import torch

    if not path.is_file():
        return None
    state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    if state["recipe"] != recipe:
        raise ValueError(f"{path} was begun with another recipe; delete it or use that one")
    return state


def weights_hash(folder: Path) -> str:
    """SHA-256 over the names and bytes of a folder's safetensors files."""
    digest = hashlib.sha256()
    for file in sorted(folder.glob("*.safetensors")):
        digest.update(file.name.encode())
        with file.open("rb") as opened:
            digest.update(hashlib.file_digest(opened, "sha256").digest())
    return digest.hexdigest()
