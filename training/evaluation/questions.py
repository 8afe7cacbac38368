"""What a model is asked: the images of a split, and what is known of the person in each.

Pixels stay encoded until a model of some size asks for them.
"""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.datasets import (
    FILES,
    Example,
    Split,
    encoded_images,
    read_examples,
)
from training.pixels import decoded
from training.qlora.material import read_captions

STRATA: dict[str, str] = {"age": "age", "sex": "sex", "localization": "site", "eye": "eye"}
"""Column of a data set, and the stratum it gives; a data set without the column has none."""
AGE_BANDS: tuple[tuple[int, str], ...] = (
    (0, "0-19"),
    (20, "20-39"),
    (40, "40-59"),
    (60, "60-79"),
    (80, "80+"),
)
"""Youngest age in whole years, and the band's name."""
NOT_KNOWN = ("", "unknown", "none", "nan")


@dataclass(frozen=True)
class Question:
    """One image of a split, encoded as its data set has it."""

    example: Example
    encoded: bytes
    strata: Mapping[str, str]
    """Of `STRATA`'s values, those that are known."""

    @property
    def label(self) -> str:
        """The true one."""
        return self.example.label

    def square(self, size: int) -> NDArray[np.uint8]:
        """(size, size, 3), as at the clinic. Raises: DatasetError when it is no image."""
        return decoded(self.example, self.encoded, size)


def read_questions(
    data: Path,
    split: Split,
    most_per_domain: int | None = None,
    seed: int = 0,
    captions: Path | None = None,
) -> list[Question]:
    """The split's images, or at most so many of each domain drawn by `seed`.

    The split is the data sets' own, or that of a file of `captions`.
    Raises: DatasetError.
    """
    if captions is None:
        chosen = [example for example in read_examples(data)[0] if example.split == split]
    else:
        rows = read_captions(captions, data)
        chosen = [row.example for row in rows if row.split == split]
    if most_per_domain is not None:
        chosen = _sample(chosen, most_per_domain, seed)
    used = {example.dataset for example in chosen}
    images = {dataset: encoded_images(data, dataset) for dataset in used}
    strata = {dataset: _read_strata(data, dataset) for dataset in FILES if dataset in used}
    return [
        Question(
            example,
            images[example.dataset][example.row],
            strata[example.dataset][example.row] if example.dataset in strata else {},
        )
        for example in chosen
    ]


def strata_of(columns: Mapping[str, Any]) -> dict[str, str]:
    """What one row's columns say of the person, ages in bands; the unknown is left out."""
    found = {}
    for column, stratum in STRATA.items():
        text = str(columns.get(column) or "").strip().lower()
        value = age_band(text) if column == "age" else text
        if value and value not in NOT_KNOWN:
            found[stratum] = value
    return found


def age_band(text: str) -> str | None:
    """None for what is no age in years."""
    try:
        years = float(text)
    except ValueError:
        return None
    place = bisect_right([youngest for youngest, _ in AGE_BANDS], years)
    return AGE_BANDS[place - 1][1] if 0 <= years < 130 else None


def _read_strata(data: Path, dataset: str) -> list[dict[str, str]]:
    """Of every row, in row order."""
    import pyarrow.parquet as pq  # training only

    with pq.ParquetFile(data / f"{dataset}.parquet") as file:
        columns = [name for name in STRATA if name in file.schema_arrow.names]
        if not columns:
            return [{}] * file.metadata.num_rows
        return [strata_of(row) for row in file.read(columns=columns).to_pylist()]


def _sample(examples: Sequence[Example], most: int, seed: int) -> list[Example]:
    rng = np.random.default_rng(seed)
    drawn: list[Example] = []
    for domain in dict.fromkeys(example.domain for example in examples):
        inside = [example for example in examples if example.domain == domain]
        places = rng.choice(len(inside), min(most, len(inside)), replace=False)
        drawn += [inside[place] for place in sorted(places)]
    return drawn
