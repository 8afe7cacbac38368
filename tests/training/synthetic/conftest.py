"""Captioned pictures for the drawing models, once a session."""

from pathlib import Path

import pytest

from tests.training.synthetic.drawing_set import pictures
from training.synthetic.material import Material


@pytest.fixture(scope="session")
def material(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Material:
    from training.measured.captions import write_captions

    run = tmp_path_factory.mktemp("pictures")
    return pictures(data, write_captions(data, run / "captions.jsonl", print), run)
