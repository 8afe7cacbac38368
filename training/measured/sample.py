"""Real training images to set cut points on and to try the measures with. Pixels stay in memory."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from appliance.core.labels import Domain
from training.datasets import Example, encoded_images, in_split, read_examples
from training.measured.frame import SIDE, Pixels
from training.measured.measurement import INSTRUMENTS
from training.pixels import decoded


def train_examples(data: Path, per_label: int | None = None) -> list[Example]:
    """The training split, or the same at most `per_label` of each label, drawn evenly."""
    examples, _ = read_examples(data)
    by_label: dict[str, list[Example]] = defaultdict(list)
    for index in in_split(examples, "train"):
        by_label[examples[index].label].append(examples[index])
    picked = []
    for some in by_label.values():
        count = min(per_label or len(some), len(some))
        picked += [some[place * len(some) // count] for place in range(count)]
    return sorted(picked, key=lambda example: (example.dataset, example.row))


def squares(data: Path, examples: Sequence[Example]) -> Iterator[Pixels]:
    """Each example's square picture; one data set's file is held at a time."""
    dataset, encoded = "", dict[int, bytes]()
    for example in examples:
        if example.dataset != dataset:
            dataset, encoded = example.dataset, encoded_images(data, example.dataset)
        yield decoded(example, encoded[example.row], SIDE)


def train_values(
    data: Path, say: Callable[[str], None]
) -> dict[Domain, dict[str, NDArray[np.float64]]]:
    """Every measure's values over the training split."""
    examples = train_examples(data)
    rows: dict[Domain, list[dict[str, float]]] = {domain: [] for domain in INSTRUMENTS}
    for count, (example, pixels) in enumerate(
        zip(examples, squares(data, examples), strict=True), 1
    ):
        rows[example.domain].append(INSTRUMENTS[example.domain].measure(pixels))
        if count % 2000 == 0:
            say(f"{count} of {len(examples)} images")
    return {domain: columns(values) for domain, values in rows.items()}


def columns(rows: Sequence[dict[str, float]]) -> dict[str, NDArray[np.float64]]:
    return {name: np.array([row[name] for row in rows]) for name in rows[0]}
