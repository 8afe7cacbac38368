"""Claims about a release: it says what it is, or it is not there."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from safetensors import SafetensorError

from appliance.core.labels import DOMAINS
from appliance.core.ports import Picture
from appliance.core.prompt import PROMPT_VERSION
from appliance.errors import ReleaseError
from appliance.release.manifest import MANIFEST, MODEL, PROJECTOR, read_release, verify
from appliance.wiring import open_captioner
from export.__main__ import main
from export.errors import ExportError
from export.release import write_release
from training.datasets import FILES
from training.labels import label_set

CopyModel = Callable[..., Path]


def quietly(line: str) -> None:
    """Nobody reads a test's progress."""


@pytest.fixture
def copied(release: Path, tmp_path: Path) -> Path:
    """The release, for a test to spoil."""
    return shutil.copytree(release, tmp_path / "release")


def manifest_of(release: Path) -> dict[str, Any]:
    manifest: dict[str, Any] = json.loads((release / MANIFEST).read_text(encoding="utf-8"))
    return manifest


def test_a_written_release_verifies_and_holds_nothing_else(release: Path) -> None:
    verify(read_release(release))
    assert {path.name for path in release.iterdir()} == {MANIFEST, MODEL, PROJECTOR}
    assert [path.name for path in release.parent.iterdir()] == [release.name]


def test_the_manifest_says_what_the_model_answers_and_takes(release: Path) -> None:
    found = read_release(release)
    assert found.card.labels == label_set()
    assert found.card.image_size == 64
    assert found.card.demonstration
    assert found.version == "0.0.1"
    assert found.manifest["prompt_version"] == PROMPT_VERSION


def test_the_manifest_names_every_data_set_with_its_terms(release: Path) -> None:
    named = {entry["name"]: entry["terms"] for entry in manifest_of(release)["data"]}
    assert named == FILES


def test_the_manifest_holds_what_was_measured(release: Path) -> None:
    manifest = manifest_of(release)
    assert set(manifest["calibration"]["thresholds"]) == set(DOMAINS)
    assert manifest["calibration"]["temperature"] > 0
    assert manifest["evaluation"]["split"] == "test"
    assert set(manifest["evaluation"]["domains"]) == set(DOMAINS)
    assert set(manifest["evaluation"]["decisions"]) == set(DOMAINS)
    assert set(manifest["evaluation"]["findings"]) == set(DOMAINS)
    fundus, merged = (
        manifest["evaluation"]["domains"]["fundus"],
        manifest["evaluation"]["fundus_grades_merged"],
    )
    assert merged["images"] == fundus["images"]
    assert len(merged["recall_by_label"]) <= len(fundus["recall_by_label"])
    assert manifest["agreement"]["same_label"] == 1
    assert manifest["agreement"]["images"] == manifest["evaluation"]["images"]


def test_the_manifest_is_json_that_any_reader_takes(release: Path) -> None:
    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    json.loads((release / MANIFEST).read_text(encoding="utf-8"), parse_constant=refuse)


def test_the_manifest_names_no_folder_of_the_machine_it_was_made_on(
    release: Path, model: Path, data: Path
) -> None:
    for file in release.iterdir():
        content = file.read_bytes()
        assert not any(str(folder).encode() in content for folder in (release, model, data))


def test_what_is_at_out_already_is_not_overwritten(model: Path, data: Path, copied: Path) -> None:
    before = (copied / MANIFEST).read_bytes()
    with pytest.raises(ExportError, match="there is something at"):
        write_release(model, copied, data, "0.0.2", 1, quietly)
    assert (copied / MANIFEST).read_bytes() == before


def test_a_model_with_cut_weights_leaves_nothing_at_out(
    copy_model: CopyModel, data: Path, tmp_path: Path
) -> None:
    folder, out = copy_model(), tmp_path / "out"
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises((ExportError, SafetensorError)):
        write_release(folder, out, data, "0.0.1", 1, quietly)
    assert not out.exists()


def test_a_model_that_fails_after_a_file_was_written_leaves_nothing_at_out(
    copy_model: CopyModel, data: Path, tmp_path: Path
) -> None:
    folder, out = copy_model(), tmp_path / "out"
    file = folder / "tokenizer.json"
    described = json.loads(file.read_text(encoding="utf-8"))
    described["added_tokens"] = []
    file.write_text(json.dumps(described), encoding="utf-8")
    with pytest.raises(ExportError, match="tokens differ"):
        write_release(folder, out, data, "0.0.1", 1, quietly)
    assert not out.exists()
    assert (tmp_path / "out.partial" / MODEL).exists()


def test_what_a_failed_attempt_left_is_no_obstacle(
    copy_model: CopyModel, data: Path, tmp_path: Path
) -> None:
    folder, out = copy_model(), tmp_path / "out"
    stale = tmp_path / "out.partial" / "stale"
    stale.parent.mkdir()
    stale.touch()
    (folder / "model.safetensors").unlink()
    with pytest.raises(ExportError, match="no safetensors"):
        write_release(folder, out, data, "0.0.1", 1, quietly)
    assert not out.exists()


def test_a_pair_that_disagrees_with_its_parent_is_not_released(
    copy_model: CopyModel, data: Path, tmp_path: Path
) -> None:
    """llama.cpp's Gemma always uses GELU: with another activation the pair is another model."""

    def other_activation(config: dict[str, Any]) -> None:
        config["text_config"]["hidden_activation"] = "tanh"

    out = tmp_path / "out"
    with pytest.raises(ExportError):
        write_release(copy_model(other_activation), out, data, "0.0.1", 1, quietly)
    assert not out.exists()


@pytest.mark.parametrize("name", [MODEL, PROJECTOR])
def test_a_flipped_byte_is_refused_before_it_is_loaded(copied: Path, name: str) -> None:
    content = bytearray((copied / name).read_bytes())
    content[len(content) // 2] ^= 1
    (copied / name).write_bytes(content)
    picture = Picture(bytes(64 * 64 * 3), 64, "", "memory", 64, 64, None)
    with (
        open_captioner(read_release(copied), threads=1) as captioner,
        pytest.raises(ReleaseError, match=rf"not the one its manifest declares: .*{name}"),
    ):
        captioner.read(picture)


def test_the_command_says_in_one_line_why_a_model_is_refused(
    copy_model: CopyModel, data: Path, tmp_path: Path
) -> None:
    folder = copy_model()
    (folder / "tokenizer.model").unlink()
    asked = ["release", str(folder), str(tmp_path / "out"), "--data", str(data)]
    found = CliRunner().invoke(main, asked)
    assert found.exit_code == 1
    said = f"Error: {folder}: no tokenizer.model (SentencePiece); copy it from the base\n"
    assert found.stderr == said
