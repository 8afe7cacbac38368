"""What a person gets wrong is said in one line, by every verb that reads data or a recipe."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.training.tiny import every_label, write_datasets
from training.__main__ import main


@pytest.fixture
def spoilt(tmp_path: Path) -> Path:
    """A picture of the training split is none."""
    rows = every_label()
    rows["odir5k"][3]["image"] = b"not a picture"
    (tmp_path / "data").mkdir()
    return write_datasets(tmp_path / "data", rows)


@pytest.mark.parametrize(
    "verb",
    [
        ["measured", "captions", "--out", "captions.jsonl"],
        ["measured", "thresholds"],
        ["convnet", "--run", "run"],
    ],
)
def test_a_broken_picture_is_one_line(
    verb: list[str], spoilt: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    found = CliRunner().invoke(main, [*verb, "--data", str(spoilt)])
    assert found.exit_code == 1
    assert "Error: odir5k, row 3: the image cannot be read" in found.stderr


def test_a_mistyped_key_and_a_missing_convnet_are_one_line(
    data: Path, tmp_path: Path, captions_file: Path
) -> None:
    config = tmp_path / "recipe.toml"
    config.write_text("sed = 1\n")
    asked = ["--data", str(data), "--run", str(tmp_path / "run")]
    found = CliRunner().invoke(main, ["convnet", *asked, "--config", str(config)])
    assert found.exit_code == 2 and f"Error: {config}" in found.stderr
    found = CliRunner().invoke(main, ["tower", *asked, "--captions", str(captions_file)])
    assert found.exit_code == 1 and found.stderr.startswith("Error: ")
