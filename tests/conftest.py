"""Fences: every test has a home of its own. What only some machines have is skipped, said why."""

import importlib.util
from pathlib import Path

import pytest

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The appliance's home for this test; nothing outside tmp_path is written."""
    folder = tmp_path / "home"
    monkeypatch.setenv("APPLIANCE_HOME", str(folder))
    monkeypatch.setenv("HOME", str(tmp_path / "user"))
    return folder


@pytest.fixture(scope="session")
def shared() -> Path:
    """Real images, documents and hostile files, kept beside the project on some machines."""
    if not SHARED.is_dir():
        pytest.skip("the folder of real and hostile files is not beside the project")
    return SHARED


@pytest.fixture(scope="session")
def chest_dicom() -> Path:
    """A real chest radiograph, from the pydicom-data package."""
    spec = importlib.util.find_spec("data_store")
    assert spec is not None and spec.origin is not None, "pydicom-data is not installed"
    return Path(spec.origin).parent / "data" / "RG1_UNCR.dcm"
