"""Claims about the verbs, on a model of random weights."""

import itertools
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from appliance.release.manifest import hash_file
from tests.training.evaluation.answering import answered, write_evaluation
from tests.training.tiny import HELD_BACK
from training.__main__ import main
from training.adapted import write_made_of
from training.checkpoint import weights_hash
from training.evaluation.answered import ANSWERS, read_evaluation
from training.evaluation.comparison import COMPARISON
from training.evaluation.examples import HOLDS_IMAGES
from training.evaluation.figures import FIGURES
from training.evaluation.judged import make_samples, read_teacher
from training.evaluation.subject import read_subject


def call(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def test_a_model_is_asked_compared_and_reported(
    data: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = call("evaluate", model, "--data", data)
    assert done.exit_code == 0, done.output
    assert done.stdout.startswith("JSON valid 0.000, label in list 0.000")
    folder = tmp_path / ".runs" / "evaluation" / "random-test"
    assert len(read_evaluation(folder).images) == len(HELD_BACK)

    again = call("evaluate", model, "--data", data, "--json")
    assert "to ask about" not in again.stderr
    assert json.loads(again.stdout) == json.loads((folder / FIGURES).read_text())

    done = call("compare", folder, folder)
    assert done.exit_code == 0, done.output
    assert "McNemar p = 1" in done.stdout
    assert json.loads((folder / COMPARISON).read_text())["images"] == len(HELD_BACK)

    page = tmp_path / "report.html"
    done = call("report", folder, "--before", folder, "--data", data, "--html", page)
    assert (done.exit_code, done.stdout) == (0, f"{page}\n"), done.output
    assert f"report.html {HOLDS_IMAGES}" in done.stderr
    assert call("report", folder, "--html", page).exit_code == 2  # never over what is there


def test_what_a_teacher_captioned_is_asked_about_and_can_be_judged(
    data: Path, caption_lines: list[dict[str, Any]], model: Path, tmp_path: Path
) -> None:
    taught = [line for line in caption_lines if line["split"] == "train"]
    splits = itertools.cycle(("train", "val", "test"))
    lines = [{**line, "split": split} for line, split in zip(taught, splits, strict=False)]
    captions, out = tmp_path / "captions.jsonl", tmp_path / "out"
    captions.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    options = ("--data", data, "--per-domain", "1", "--out", out)
    done = call("evaluate", model, "--captions", captions, *options)
    assert done.exit_code == 0, done.output
    assert json.loads((out / FIGURES).read_text())["captions_sha256"] == hash_file(captions)
    samples, without = make_samples(read_evaluation(out), read_teacher(captions, "test"))
    assert (len(samples), without) == (3, 0)
    done = call("evaluate", model, *options)
    assert done.exit_code == 1
    assert "which --data or --captions has not so" in done.stderr


def test_a_report_without_images_needs_neither_model_nor_data(tmp_path: Path) -> None:
    folder = write_evaluation(tmp_path / "e", [answered(1, "melanoma", "melanoma")], "model")
    done = call("report", folder, "--html", tmp_path / "report.html")
    assert done.exit_code == 0, done.output
    assert HOLDS_IMAGES not in done.stderr
    assert "<img" not in (tmp_path / "report.html").read_text()


def test_a_folder_that_is_no_model_is_said(data: Path, tmp_path: Path) -> None:
    done = call("evaluate", tmp_path, "--data", data)
    assert done.exit_code == 1
    assert f"Error: no model: {tmp_path}; name a release" in done.stderr


def test_an_adapter_must_be_one_and_goes_on_a_hugging_face_model(
    data: Path, model: Path, tmp_path: Path
) -> None:
    done = call("evaluate", model, "--data", data, "--adapter", tmp_path)
    assert f"no adapter: {tmp_path}" in done.stderr
    (tmp_path / "release.json").write_text("{}")
    done = call("evaluate", tmp_path, "--data", data, "--adapter", tmp_path)
    assert "an adapter goes on a Hugging Face model" in done.stderr
    done = call("evaluate", tmp_path, "--data", data)
    assert "the release manifest cannot be read" in done.stderr


def test_images_that_differ_are_not_compared(tmp_path: Path) -> None:
    one = write_evaluation(tmp_path / "one", [answered(1, "melanoma", "melanoma")], "model")
    two = write_evaluation(tmp_path / "two", [answered(2, "melanoma", "melanoma")], "model")
    done = call("compare", one, two)
    assert done.exit_code == 1
    assert "not the same images" in done.stderr
    assert not (two / COMPARISON).exists()


def test_a_models_hash_is_of_its_files_and_its_adapters(model: Path, tmp_path: Path) -> None:
    first = read_subject(model, None, 1).sha256
    assert read_subject(model, None, 1).sha256 == first
    (tmp_path / "adapter_config.json").write_text("{}")
    write_made_of(tmp_path, {"base_sha256": weights_hash(model)})
    adapted = read_subject(model, tmp_path, 1)
    assert adapted.name == f"random+{tmp_path.name}"
    (tmp_path / "adapter_model.safetensors").write_bytes(b"weights")
    assert len({first, adapted.sha256, read_subject(model, tmp_path, 1).sha256}) == 3


def test_an_adapter_of_another_base_is_refused(data: Path, model: Path, tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text("{}")
    done = call("evaluate", model, "--data", data, "--adapter", tmp_path)
    assert done.exit_code == 1
    assert "no training.json says which base it was trained on" in done.stderr
    write_made_of(tmp_path, {"base_sha256": "0" * 64})
    done = call("evaluate", model, "--data", data, "--adapter", tmp_path)
    assert done.exit_code == 1
    assert f"{tmp_path} was not trained on the weights that {model} holds now" in done.stderr


def test_a_folder_whose_answers_are_another_models_is_left_alone(
    data: Path, model: Path, tmp_path: Path
) -> None:
    folder = write_evaluation(tmp_path / "e", [answered(1, "melanoma", "melanoma")], "model")
    before = (folder / ANSWERS).read_bytes()
    done = call("evaluate", model, "--data", data, "--out", folder)
    assert done.exit_code == 1
    assert "model model there, random now; choose another --out" in done.stderr
    assert (folder / ANSWERS).read_bytes() == before
