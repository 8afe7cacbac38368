"""Of the kit's tests: a workstation with keys, beside an empty machine."""

from pathlib import Path

import pytest

from tests.kit.stub_kits import Bench, make_bench


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    folder = tmp_path / "bench"
    folder.mkdir()
    return make_bench(folder)
