"""What a drawing model learns from: captioned pictures of the public data sets."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from appliance.core.atlas import caption_text
from training.datasets import FILES, read_examples
from training.labels import label_set
from training.pixels import load_pixels
from training.qlora.material import CaptionedImage, read_captions
from training.sampling import sampling_weights
from training.synthetic.recipe import Steps
from training.training_set import input_hashes


@dataclass(frozen=True)
class Material:
    """`rows`, `places`, `labels`, `upright` and `texts` have one entry for every captioned
    picture."""

    rows: list[CaptionedImage]
    pixels: NDArray[np.uint8]
    """Of every example of the data sets, (examples, side, side, 3)."""
    places: NDArray[np.int64]
    """Which of `pixels` a row is."""
    labels: NDArray[np.int64]
    """Position in the label set."""
    upright: NDArray[np.bool_]
    """Chest radiographs: never mirrored or turned over."""
    texts: list[str]
    """The caption in one line."""
    train: NDArray[np.int64]
    """Rows of the training split."""
    weights: NDArray[np.float64]
    """How likely each of `train` is drawn."""
    inputs: dict[str, str]
    """By name the SHA-256 of what this was read from."""

    def split(self, name: str) -> NDArray[np.int64]:
        return np.flatnonzero([row.split == name for row in self.rows])


def gather_pictures(data: Path, captions: Path, run: Path, steps: Steps) -> Material:
    """A clinic's own pictures are left out: a drawing model may give back what it learnt from.

    Raises: DatasetError, OSError.
    """
    examples, _ = read_examples(data)
    rows = [row for row in read_captions(captions, data) if row.example.dataset in FILES]
    place = {example: number for number, example in enumerate(examples)}
    names = label_set().names
    train = np.flatnonzero([row.split == "train" for row in rows])
    learnt = [rows[row].example for row in train]
    return Material(
        rows=rows,
        pixels=load_pixels(data, examples, run),
        places=np.array([place[row.example] for row in rows]),
        labels=np.array([names.index(row.caption.label) for row in rows]),
        upright=np.array([row.example.domain == "chest" for row in rows]),
        texts=[caption_text(row.caption) for row in rows],
        inputs=input_hashes(data, captions=captions),
        train=train,
        weights=sampling_weights(learnt, steps.domain_share, steps.balance),
    )
