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
    DatasetError,
    Example,
    Split,
    encoded_images,
    in_split,
    read_examples,
)
from training.pixels import decode_square

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
        try:
            return decode_square(self.encoded, size)
        except (OSError, ValueError, SyntaxError) as exc:  # Pillow raises all three
            raise DatasetError(
                f"{self.example.dataset}, row {self.example.row}: the image cannot be read ({exc})"
            ) from exc


def read_questions(
    data: Path, split: Split, most_per_domain: int | None = None, seed: int = 0
) -> list[Question]:
    """The split's images, or at most so many of each domain drawn by `seed`."""
    examples, _ = read_examples(data)
    chosen = list(in_split(examples, split))
    if most_per_domain is not None:
        chosen = _sample(examples, chosen, most_per_domain, seed)
    used = {examples[i].dataset for i in chosen}
    images = {dataset: encoded_images(data, dataset) for dataset in FILES if dataset in used}
    strata = {dataset: _read_strata(data, dataset) for dataset in images}
    return [
        Question(
            example, images[example.dataset][example.row], strata[example.dataset][example.row]
        )
        for example in (examples[i] for i in chosen)
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


def _sample(examples: Sequence[Example], chosen: list[int], most: int, seed: int) -> list[int]:
    rng = np.random.default_rng(seed)
    drawn: list[int] = []
    for domain in dict.fromkeys(examples[i].domain for i in chosen):
        inside = [i for i in chosen if examples[i].domain == domain]
        drawn += sorted(rng.choice(inside, min(most, len(inside)), replace=False).tolist())
    return drawn
