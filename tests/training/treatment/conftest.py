"""The rule book, and a judge that a test can afford to train."""

from pathlib import Path
from typing import Any

import pytest

from appliance.core.treatment import RuleBook
from tests.training.tiny_base import write_tiny_base


@pytest.fixture(scope="session")
def book() -> RuleBook:
    from training.treatment.command import rule_book

    return rule_book()


@pytest.fixture(scope="session")
def images() -> dict[str, list[int]]:
    """Three images of every label."""
    from training.labels import label_set

    return {name: [3 * n, 3 * n + 1, 3 * n + 2] for n, name in enumerate(label_set().names)}


@pytest.fixture(scope="session")
def base(tokenizer: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_base(tokenizer, tmp_path_factory.mktemp("base"))
