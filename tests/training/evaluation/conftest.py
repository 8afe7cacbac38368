"""The model of random weights, once a session."""

from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="session")
def model(tokenizer: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tests.training.evaluation.answering import write_model

    folder = tmp_path_factory.mktemp("models") / "random"
    return write_model(folder, tokenizer, Path(tokenizer.name_or_path) / "tokenizer.model")
