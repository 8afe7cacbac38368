"""Tensors where they lie: safetensors files read piece by piece, never whole.

Knows nothing of models. Read with plain reads, not mapped memory, so that the process never holds
more of a file than the piece at hand.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from export.errors import ExportError

if TYPE_CHECKING:
    import torch

INDEX = "model.safetensors.index.json"
PIECE_BYTES = 8 << 20
PICKLED = {".bin", ".pt", ".pth", ".ckpt", ".pkl"}
TRAINER_STATE = ("training_args", "optimizer", "scheduler", "scaler", "rng_state")
"""Beginnings of the pickles that transformers' Trainer leaves beside the weights; never opened."""


KINDS = {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}
"""Full and half precisions as safetensors spells them, and as torch does."""


@dataclass(frozen=True)
class StoredTensor:
    """One tensor of a safetensors file; its values are read when asked for."""

    name: str
    """Canonical: `language_model.`, `vision_tower.vision_model.` or `multi_modal_projector.`."""
    shape: tuple[int, ...]
    file: Path
    key: str
    dtype: str
    """As safetensors spells it: F32, F16 or BF16."""
    start: int
    """Of its first byte in the file."""
    size_bytes: int

    def pieces(self) -> Iterator["torch.Tensor"]:
        """The values in order, flat, as stored; each piece is overwritten by the next.

        Raises: ExportError.
        """
        import torch

        kind = getattr(torch, KINDS[self.dtype])
        buffer = torch.empty(min(PIECE_BYTES, self.size_bytes), dtype=torch.uint8)
        view = buffer.numpy().data
        try:
            with self.file.open("rb", buffering=0) as file:
                file.seek(self.start)
                for first in range(0, self.size_bytes, PIECE_BYTES):
                    wanted = view[: self.size_bytes - first]
                    while len(wanted):
                        count = file.readinto(wanted)
                        if not count:
                            raise ExportError(f"{self.file}: ends within {self.key}; copy it again")
                        wanted = wanted[count:]
                    yield buffer[: self.size_bytes - first].view(kind)
        except OSError as exc:
            raise ExportError(f"{self.file}: cannot be read ({exc})") from exc

    def read(self) -> NDArray[np.float32]:
        """The whole tensor. Raises: ExportError."""
        values = np.empty(int(np.prod(self.shape)), dtype=np.float32)
        done = 0
        for piece in self.pieces():
            values[done : done + piece.numel()] = piece.float().numpy()
            done += piece.numel()
        return values.reshape(self.shape)


def equal_values(one: StoredTensor, other: StoredTensor) -> bool:
    """Compared piece by piece, as float32. Raises: ExportError."""
    if one.shape != other.shape or one.dtype != other.dtype:
        return one.shape == other.shape and bool(np.array_equal(one.read(), other.read()))
    pairs = zip(one.pieces(), other.pieces(), strict=True)
    return all(bool((left.float() == right.float()).all()) for left, right in pairs)


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files of a folder: those its index names, or all. Raises: ExportError."""
    pickles = sorted(
        path.name
        for path in folder.iterdir()
        if path.suffix in PICKLED and not path.name.startswith(TRAINER_STATE)
    )
    if pickles:
        raise ExportError(
            f"{folder}: pickled weights are not read: {', '.join(pickles)}; "
            "save the model as safetensors and remove them"
        )
    index = folder / INDEX
    if not index.is_file():
        files = sorted(folder.glob("*.safetensors"))
        if not files:
            raise ExportError(f"{folder}: no safetensors file")
        return files
    places = json.loads(index.read_text(encoding="utf-8")).get("weight_map")
    if not isinstance(places, dict) or not all(isinstance(at, str) for at in places.values()):
        raise ExportError(f"{index}: no weight_map; copy it again")
    names = sorted(set(places.values()))
    if missing := [name for name in names if not (folder / Path(name).name).is_file()]:
        raise ExportError(f"{folder}: {', '.join(missing)} missing, which {INDEX} names; copy it")
    return [folder / Path(name).name for name in names]


def tensors_in(file: Path) -> Iterator[tuple[str, str, tuple[int, ...], int, int]]:
    """Key, dtype, shape, first byte and size in bytes of each tensor of a safetensors file.

    Raises: ExportError, also when the file is cut, or its tensors overlap or leave holes.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="np"):  # checks the header and its offsets
            pass
    except (SafetensorError, OSError) as exc:
        raise ExportError(
            f"{file}: damaged, or not safetensors ({exc}); copy or save it again"
        ) from exc
    with file.open("rb") as opened:
        length = int.from_bytes(opened.read(8), "little")
        header = json.loads(opened.read(length))
    header.pop("__metadata__", None)
    for key, row in header.items():
        first, last = row["data_offsets"]
        yield key, row["dtype"], tuple(row["shape"]), 8 + length + first, last - first
