"""The heads that bring a vision tower and a text tower into one space: two small projections.

`python -m training atlas heads` learns them; the clinic applies them. A head standardises the
tower's features, takes them through one hidden layer and scales the result to length one.
"""

import io
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

HEADS = "heads.npz"
MOST_BYTES = 256 << 20
Rows = NDArray[np.float32]


@dataclass(frozen=True)
class Head:
    """Of one tower; `first` is (features, hidden), `second` (hidden, dimensions)."""

    mean: Rows
    scale: Rows
    first: Rows
    first_bias: Rows
    second: Rows
    second_bias: Rows

    def project(self, features: Rows) -> Rows:
        """(rows, features) to unit vectors, (rows, dimensions)."""
        standard = (features - self.mean) / self.scale
        hidden = np.maximum(standard @ self.first + self.first_bias, 0)
        return unit(hidden @ self.second + self.second_bias)


PARTS = ("mean", "scale", "first", "first_bias", "second", "second_bias")


@dataclass(frozen=True)
class Heads:
    image: Head
    text: Head

    @property
    def dimensions(self) -> int:
        return int(self.image.second.shape[1])


def case_vectors(pictures: Rows, captions: Rows) -> Rows:
    """What stands for each case in the index: its picture and its caption together.

    Both are unit rows, (cases, dimensions). The caption draws a case whose picture is unusual for
    its label to where queries of that label lie.
    """
    return unit(pictures + captions)


def unit(rows: Rows) -> Rows:
    """Each row at length one."""
    scaled: Rows = rows / np.maximum(np.linalg.norm(rows, axis=-1, keepdims=True), 1e-12)
    return scaled


def write_heads(heads: Heads, path: Path) -> None:
    """At half precision, aside first. Raises: OSError."""
    arrays = {
        f"{side}_{part}": getattr(getattr(heads, side), part).astype(np.float16)
        for side in ("image", "text")
        for part in PARTS
    }
    aside = path.with_name(path.name + ".partial")
    with aside.open("wb") as file:
        np.savez(file, allow_pickle=False, **arrays)
    aside.rename(path)


def read_heads(encoded: bytes) -> Heads:
    """Raises: ValueError for what is no pair of heads that fit together."""
    try:
        with np.load(io.BytesIO(encoded), allow_pickle=False) as arrays:
            image, text = (_head(arrays, side) for side in ("image", "text"))
    except (KeyError, OSError, zipfile.BadZipFile) as exc:
        raise ValueError(f"no pair of heads ({exc})") from exc
    if image.second.shape[1] != text.second.shape[1]:
        raise ValueError("the two heads lead into different spaces")
    return Heads(image, text)


def _head(arrays: "np.lib.npyio.NpzFile", side: str) -> Head:
    parts: Sequence[Rows] = [arrays[f"{side}_{part}"].astype(np.float32) for part in PARTS]
    head = Head(*parts)
    features, hidden = head.first.shape
    fits = (
        head.mean.shape == head.scale.shape == (features,)
        and head.first_bias.shape == (hidden,)
        and head.second.shape == (hidden, *head.second_bias.shape)
    )
    if not fits or not all(np.isfinite(part).all() for part in parts) or (head.scale <= 0).any():
        raise ValueError(f"the {side} head's numbers do not fit together")
    return head
