"""Made-up data sets, their captions and a tokenizer, once a session."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """So small a model is slower with more, above all where other work holds the cores."""
    import torch  # slow

    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The three data sets: every label twice in train, some of each domain in val and test."""
    from tests.training.tiny import every_label, write_datasets

    return write_datasets(tmp_path_factory.mktemp("data"), every_label())


@pytest.fixture(scope="session")
def caption_lines(data: Path) -> list[dict[str, Any]]:
    """One line an image, each with its label's own caption and its data set's split."""
    from training.datasets import read_examples
    from training.labels import label_row

    return [
        {
            "dataset": example.dataset,
            "row": example.row,
            "caption": asdict(label_row(example.label).caption),
            "split": example.split,
        }
        for example in read_examples(data)[0]
    ]


@pytest.fixture
def captions_file(caption_lines: list[dict[str, Any]], tmp_path: Path) -> Path:
    file = tmp_path / "captions.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in caption_lines), encoding="utf-8")
    return file


@pytest.fixture(scope="session")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Any:
    from appliance.core.caption import caption_json
    from training.labels import label_table
    from training.tokenizer import load_tokenizer, train_tokenizer

    folder = tmp_path_factory.mktemp("tokenizer")
    train_tokenizer([caption_json(row.caption) for row in label_table()], 640, folder)
    return load_tokenizer(folder)
