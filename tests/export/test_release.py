"""Claims about a release: it says what it is, or it is not there."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from appliance.core.caption import is_caption
from appliance.core.labels import DOMAINS
from appliance.core.ports import Picture
from appliance.core.prompt import PROMPT_VERSION
from appliance.errors import ReleaseError
from appliance.release.drawings import draw
from appliance.release.manifest import (
    ENCODER,
    ENCODER_INT8,
    ENCODER_REPORT,
    MANIFEST,
    MODEL,
    PHRASES,
    PROJECTOR,
    read_phrases,
    read_release,
    verify,
)
from appliance.wiring import open_captioner
from export.__main__ import main
from export.errors import ExportError
from export.gate import RESULT
from export.model_card import MODEL_CARD, model_card
from export.onnx_encoder import write_encoder
from tests.export.conftest import set_found
from training.checkpoint import weights_hash
from training.datasets import FILES
from training.labels import label_set

CopyModel = Callable[..., Path]
WriteRelease = Callable[..., Path]


@pytest.fixture
def copied(release: Path, tmp_path: Path) -> Path:
    """The release, for a test to spoil."""
    return shutil.copytree(release, tmp_path / "release")


def files_of_a_release() -> set[str]:
    return {MANIFEST, MODEL, PROJECTOR, MODEL_CARD, PHRASES}


def manifest_of(release: Path) -> dict[str, Any]:
    manifest: dict[str, Any] = json.loads((release / MANIFEST).read_text(encoding="utf-8"))
    return manifest


def test_a_written_release_verifies_and_holds_nothing_else(release: Path) -> None:
    verify(read_release(release))
    assert {path.name for path in release.iterdir()} == files_of_a_release()
    assert [path.name for path in release.parent.iterdir()] == [release.name]


def test_the_phrase_bank_holds_captions_that_the_release_wrote(release: Path) -> None:
    phrases = read_phrases(read_release(release))
    assert phrases and len(set(phrases)) == len(phrases)
    assert all(is_caption(phrase, label_set()) for phrase in phrases)


def test_the_manifest_says_what_the_model_answers_and_takes(release: Path) -> None:
    found = read_release(release)
    assert found.card.labels == label_set()
    assert found.card.image_size == 64
    assert found.card.demonstration
    assert found.card.gate.familiarity is not None
    assert found.version == "0.0.1"
    assert found.manifest["prompt_version"] == PROMPT_VERSION


def test_the_manifest_names_every_data_set_with_its_terms(release: Path) -> None:
    named = {entry["name"]: entry["terms"] for entry in manifest_of(release)["data"]}
    assert named == FILES


def test_the_manifest_holds_what_was_measured(release: Path) -> None:
    manifest = manifest_of(release)
    assert set(manifest["calibration"]["thresholds"]) == set(DOMAINS)
    assert set(manifest["calibration"]["temperatures"]) == set(DOMAINS)
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


def test_what_is_at_out_already_is_not_overwritten(write: WriteRelease, copied: Path) -> None:
    before = (copied / MANIFEST).read_bytes()
    with pytest.raises(ExportError, match="there is something at"):
        write(copied, version="0.0.2")
    assert (copied / MANIFEST).read_bytes() == before


def test_the_card_says_the_manifests_figures_and_failures(release: Path) -> None:
    card = (release / MODEL_CARD).read_text(encoding="utf-8")
    manifest = manifest_of(release)
    for failure in manifest["known_failures"]:
        assert f"- {failure}" in card
    for domain, scores in manifest["evaluation"]["domains"].items():
        assert f"| {domain} | {scores['images']} | {scores['accuracy']:.3f} (" in card
    assert f"| same label | {manifest['agreement']['same_label']:.5g} | 0.995 |" in card


def test_the_card_of_a_model_taught_in_other_words_says_so(release: Path) -> None:
    manifest = dict(read_release(release).manifest)
    unchecked = {"stated": 0, "confirmed": 0, "unknown": 12, "share": None, "share_interval": None}
    findings = {**manifest["evaluation"]["findings"], "skin": unchecked}
    manifest["evaluation"] = {**manifest["evaluation"], "findings": findings}
    assert "| none; 12 in other words |" in model_card(manifest)


def test_a_release_that_was_stopped_goes_on_with_the_answers_it_has(
    write: WriteRelease, release: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import export.release

    def stop(*_: Any) -> None:
        raise KeyboardInterrupt

    out = tmp_path / "out"
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(export.release, "model_card", stop)
        write(out)
    assert not out.exists()
    said: list[str] = []
    write(out, say=said.append)
    assert not any("to ask about" in line or "looked at" in line for line in said)
    assert manifest_of(out) == manifest_of(release)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_gate_on_another_pair_is_no_leave(
    write: WriteRelease, passed: Path, tmp_path: Path
) -> None:
    other = shutil.copytree(passed, tmp_path / "gate")
    verdict = json.loads((other / RESULT).read_text(encoding="utf-8"))
    verdict["files"][MODEL] = "0" * 64
    (other / RESULT).write_text(json.dumps(verdict), encoding="utf-8")
    with pytest.raises(ExportError, match="the verdict on another pair"):
        write(tmp_path / "out", gate=other)
    assert not (tmp_path / "out").exists()


def test_no_gate_no_release(write: WriteRelease, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="run `python -m export gate` first"):
        write(tmp_path / "out", gate=tmp_path)


def test_a_refused_pair_is_released_only_with_a_reason_that_it_carries(
    write: WriteRelease, passed: Path, tmp_path: Path
) -> None:
    other = shutil.copytree(passed, tmp_path / "gate")
    set_found(other, "same_label", 0.9)
    with pytest.raises(ExportError, match=r"same_label 0\.9, least 0\.995.*--override REASON"):
        write(tmp_path / "out", gate=other)
    assert not (tmp_path / "out").exists()
    out = write(tmp_path / "out", gate=other, override="a trial")
    assert manifest_of(out)["agreement"]["override"] == "a trial"
    assert "**Released outside its margins.** Reason given: a trial" in (
        out / MODEL_CARD
    ).read_text(encoding="utf-8")


def test_a_reason_that_was_not_needed_is_not_carried(
    write: WriteRelease, release: Path, tmp_path: Path
) -> None:
    out = write(tmp_path / "out", override="just in case")
    assert manifest_of(out) == manifest_of(release)


def encoder_of(weights_sha256: str, folder: Path) -> Path:
    folder.mkdir()
    (folder / "encoder.onnx").write_bytes(b"graph")
    said = {"model_sha256": weights_sha256, "files": {"encoder.onnx": {}}}
    (folder / "encoder.json").write_text(json.dumps(said), encoding="utf-8")
    return folder


def test_an_encoder_of_the_same_weights_goes_along_and_is_declared(
    write: WriteRelease, model: Path, tmp_path: Path
) -> None:
    encoder = encoder_of(weights_hash(model), tmp_path / "encoder")
    out = write(tmp_path / "out", encoder=encoder)
    verify(read_release(out))
    assert {"encoder.onnx", "encoder.json"} <= set(manifest_of(out)["files"])
    assert (out / "encoder.onnx").read_bytes() == b"graph"


def test_a_release_is_measured_and_read_with_the_encoder_asked_for(
    write: WriteRelease, model: Path, data: Path, tmp_path: Path
) -> None:
    write_encoder(model, tmp_path / "encoder", data, 1, 1, lambda line: None)
    made = write(tmp_path / "out", encoder=tmp_path / "encoder", reads_with="onnx-int8")
    release = read_release(made)
    assert release.encoder == "onnx-int8"
    assert set(release.files) >= {ENCODER_INT8, ENCODER_REPORT} and ENCODER not in release.files
    picture = draw("chest", 1, release.card.image_size)
    with open_captioner(release, 1) as own, open_captioner(release, 1, "onnx-int8") as named:
        assert own.read(picture) == named.read(picture)
    with pytest.raises(ReleaseError, match="no vision encoder `onnx`"):
        open_captioner(release, 1, "onnx")


def test_an_encoder_that_is_not_there_cannot_be_measured(
    write: WriteRelease, tmp_path: Path
) -> None:
    with pytest.raises(ExportError, match="not there; give --encoder"):
        write(tmp_path / "out", reads_with="onnx")


def test_an_encoder_of_other_weights_is_refused(write: WriteRelease, tmp_path: Path) -> None:
    encoder = encoder_of("0" * 64, tmp_path / "encoder")
    with pytest.raises(ExportError, match="encoder: was written from other weights"):
        write(tmp_path / "out", encoder=encoder)
    assert not (tmp_path / "out").exists()


def test_other_weights_than_the_pairs_are_refused(
    write: WriteRelease, copy_model: CopyModel, tmp_path: Path
) -> None:
    folder = copy_model()
    weights = bytearray((folder / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (folder / "model.safetensors").write_bytes(weights)
    with pytest.raises(ExportError, match="was written from other weights"):
        write(tmp_path / "out", model=folder)


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


def test_the_command_says_in_one_line_what_is_missing(
    model: Path, pair: Path, data: Path, tmp_path: Path
) -> None:
    asked = ["release", str(model), str(pair), str(tmp_path / "out"), "--data", str(data)]
    found = CliRunner().invoke(main, [*asked, "--gate", str(tmp_path)])
    assert found.exit_code == 1
    assert found.stderr.count("\n") == 1
    assert found.stderr.startswith(f"Error: {tmp_path / 'gate.json'}: no verdict can be read")
