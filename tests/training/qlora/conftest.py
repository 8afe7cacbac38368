"""A captions.jsonl for the made-up data sets."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

Line = dict[str, Any]


@pytest.fixture(scope="session")
def caption_lines(data: Path) -> list[Line]:
    """One line an image, each with its label's own caption and its data set's split."""
    from training.datasets import read_examples
    from training.labels import label_table

    caption_of = {row.name: asdict(row.caption) for row in label_table()}
    examples, _ = read_examples(data)
    return [
        {
            "dataset": example.dataset,
            "row": example.row,
            "caption": caption_of[example.label],
            "split": example.split,
        }
        for example in examples
    ]


@pytest.fixture
def captions_file(caption_lines: list[Line], tmp_path: Path) -> Path:
    file = tmp_path / "captions.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in caption_lines), encoding="utf-8")
    return file
