"""Makes the stand-ins importable, and gives what the screen's tests share."""

import shutil
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
sys.path.insert(0, str(TESTS / "appliance"))


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def drawings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of pictures that the project draws: `chest-0.png` and the like."""
    from appliance.core.labels import DOMAINS
    from appliance.release.drawings import draw, png

    folder = tmp_path_factory.mktemp("drawings")
    for domain in DOMAINS:
        for variant in range(4):
            (folder / f"{domain}-{variant}.png").write_bytes(png(draw(domain, variant, 256)))
    return folder


@pytest.fixture(scope="session")
def indexed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with the sample guideline in its index, to be copied."""
    from appliance.config import Config
    from appliance.wiring import open_guidelines
    from cpg_store.sample import sample_guideline

    home = tmp_path_factory.mktemp("indexed")
    with open_guidelines(Config(home), create=True) as index:
        index.add(sample_guideline(), title=None, edition=None)
    return home


@pytest.fixture
def clinic_home(home: Path, indexed: Path) -> Path:
    """The test's own home, with the sample guideline."""
    shutil.copytree(indexed, home, dirs_exist_ok=True)
    return home
