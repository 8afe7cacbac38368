"""The pictures a recipe of the demonstration model trains on, and how often each is drawn."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from appliance.core.labels import Domain
from appliance.release.manifest import hash_file
from training.datasets import FILES, Example, in_split, read_examples
from training.labels import TABLE, label_set
from training.pixels import load_pixels
from training.sampling import sampling_weights


@dataclass(frozen=True)
class TrainingSet:
    """`examples`, `pixels`, `target` and `upright` have one entry for every example of the data
    sets."""

    examples: list[Example]
    pixels: NDArray[np.uint8]
    target: NDArray[np.int64]
    """Position of the label in the label set."""
    upright: NDArray[np.bool_]
    """Chest radiographs: never mirrored or turned over."""
    train: NDArray[np.int64]
    """Examples of the training split."""
    validation: NDArray[np.int64]
    weights: NDArray[np.float64]
    """How likely each example of `train` is drawn."""
    left_out: int
    """Rows of the data sets that no single label describes."""


def input_hashes(data: Path, **others: Path) -> dict[str, str]:
    """By name the SHA-256 of all that a run learns from: data sets, label table and `others`.

    Raises: OSError.
    """
    sets = {dataset: data / f"{dataset}.parquet" for dataset in FILES}
    inputs = {**sets, "labels": TABLE, **others}
    return {f"{name}_sha256": hash_file(file) for name, file in inputs.items()}


def load_training_set(
    data: Path, run: Path, domain_share: dict[Domain, float], balance: float
) -> TrainingSet:
    """Raises: DatasetError."""
    examples, left_out = read_examples(data)
    names = label_set().names
    train = list(in_split(examples, "train"))
    return TrainingSet(
        examples=examples,
        pixels=load_pixels(data, examples, run),
        target=np.array([names.index(example.label) for example in examples]),
        upright=np.array([example.domain == "chest" for example in examples]),
        train=np.array(train),
        validation=np.array(list(in_split(examples, "val"))),
        weights=sampling_weights([examples[i] for i in train], domain_share, balance),
        left_out=left_out,
    )
