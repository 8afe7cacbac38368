"""What a QLoRA run refuses, and that it says of which line, image or model it speaks."""

import copy
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from tests.training.qlora.test_qlora import RECIPE
from tests.training.qlora.tiny_gemma import tiny_gemma
from tests.training.tiny import every_label, write_datasets
from training.datasets import DatasetError
from training.qlora.base import BaseModelError, require_base
from training.qlora.command import qlora
from training.qlora.geometry import KNOWN
from training.qlora.material import gather, read_captions
from training.qlora.recipe import Quantization
from training.qlora.train import load_base

Line = dict[str, Any]
CONFIGS = Path(__file__).resolve().parents[3] / "training" / "configs"


def written(file: Path, lines: list[Line]) -> Path:
    file.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return file


def emptied(line: Line) -> None:
    line["caption"]["key_findings"] = " "


def outside_the_table(line: Line) -> None:
    line["caption"]["label"] = "a rash"


def of_another_label(line: Line) -> None:
    line["caption"]["label"] = "melanoma"


def of_another_image(line: Line) -> None:
    line["row"] = 10_000


def of_no_split(line: Line) -> None:
    line["split"] = "tset"


def half_a_caption(line: Line) -> None:
    del line["caption"]["image_type"]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (emptied, "`key_findings` is not a sentence"),
        (outside_the_table, "no such label in labels.toml: 'a rash'"),
        (of_another_label, "the caption says 'melanoma', the data"),
        (of_another_image, "not a caption of these images"),
        (of_no_split, "no such split: 'tset'"),
        (half_a_caption, "not a caption of these images"),
    ],
)
def test_a_spoilt_line_is_named(
    spoil: Callable[[Line], None],
    message: str,
    data: Path,
    caption_lines: list[Line],
    tmp_path: Path,
) -> None:
    lines = copy.deepcopy(caption_lines)
    lines.insert(2, lines.pop())
    assert lines[2]["caption"]["label"] != "melanoma"
    spoil(lines[2])
    file = written(tmp_path / "captions.jsonl", lines)
    with pytest.raises(DatasetError, match=f"captions.jsonl, line 3: {message}"):
        read_captions(file, data)


def test_a_line_of_prose_is_named(data: Path, captions_file: Path) -> None:
    lines = captions_file.read_text(encoding="utf-8")
    captions_file.write_text("Here are the captions:\n" + lines, encoding="utf-8")
    with pytest.raises(DatasetError, match="line 1: not a caption"):
        read_captions(captions_file, data)


def test_a_file_that_is_no_text_is_refused(data: Path, tmp_path: Path) -> None:
    file = tmp_path / "captions.jsonl"
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DatasetError, match="not UTF-8"):
        read_captions(file, data)


def test_an_empty_file_is_refused(data: Path, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="holds no caption"):
        read_captions(written(tmp_path / "captions.jsonl", []), data)


@pytest.mark.parametrize("split", ["train", "val"])
def test_a_split_without_lines_is_refused(
    split: str, data: Path, caption_lines: list[Line], tmp_path: Path
) -> None:
    others = [line for line in caption_lines if line["split"] != split]
    with pytest.raises(DatasetError, match=f"has the split '{split}'"):
        read_captions(written(tmp_path / "captions.jsonl", others), data)


def test_a_group_in_two_splits_is_named(
    data: Path, caption_lines: list[Line], tmp_path: Path
) -> None:
    twice = [*caption_lines, {**caption_lines[0], "split": "val"}]
    with pytest.raises(DatasetError, match=r"group 0-0 of ham10000 is in two splits"):
        read_captions(written(tmp_path / "captions.jsonl", twice), data)


@pytest.mark.parametrize("image", [b"", b"not a picture", "cut"], ids=["empty", "text", "cut"])
def test_a_corrupt_image_is_named_by_data_set_and_row(
    image: bytes | str, tokenizer: Any, captions_file: Path, tmp_path: Path
) -> None:
    rows = every_label()
    row = rows["odir5k"][3]
    row["image"] = row["image"][:200] if isinstance(image, str) else image
    data = tmp_path / "data"
    data.mkdir()
    write_datasets(data, rows)
    captioned = read_captions(captions_file, data)
    with pytest.raises(DatasetError, match="odir5k, row 3: the image cannot be read"):
        gather(tiny_gemma(), tokenizer, RECIPE, captioned, data, tmp_path / "run", print)


def test_a_share_of_a_domain_without_captions_is_refused(
    data: Path, tokenizer: Any, caption_lines: list[Line], tmp_path: Path
) -> None:
    skin = [line for line in caption_lines if line["dataset"] == "ham10000"]
    captioned = read_captions(written(tmp_path / "captions.jsonl", skin), data)
    recipe = replace(RECIPE, steps=replace(RECIPE.steps, domain_share={"skin": 0.5, "chest": 0.5}))
    with pytest.raises(DatasetError, match="no caption of the training split is of chest"):
        gather(tiny_gemma(), tokenizer, recipe, captioned, data, tmp_path / "run", print)


def test_a_gated_base_that_is_not_here_says_how_it_gets_here() -> None:
    with pytest.raises(BaseModelError) as caught:
        require_base("google/medgemma-4b-it")
    message = str(caught.value)
    assert "https://huggingface.co/google/medgemma-4b-it" in message
    assert "`hf download google/medgemma-4b-it` on a machine with network" in message


def test_a_folder_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BaseModelError, match=r"no model folder with a config\.json"):
        load_base(str(tmp_path / "nothing"), RECIPE.quantization)


def test_a_download_that_broke_off_is_refused(tmp_path: Path) -> None:
    tiny_gemma().config.save_pretrained(tmp_path)
    with pytest.raises(BaseModelError, match=r"no \*.safetensors: the download is not whole"):
        load_base(str(tmp_path), RECIPE.quantization)


def test_a_base_of_4b_needs_a_gpu(tmp_path: Path) -> None:
    import torch

    from tests.training.qlora.test_estimate import config_of

    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    config_of(KNOWN["google/medgemma-4b-it"]).save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").touch()  # refused before the weights are opened
    with pytest.raises(BaseModelError, match=r"4\.3e9 weights and this machine has no CUDA device"):
        load_base(str(tmp_path), Quantization("nf4", double=True, compute="bfloat16"))


def test_the_command_says_it_in_one_line_and_leaves_no_trace(
    data: Path, captions_file: Path, tmp_path: Path
) -> None:
    config, run = CONFIGS / "medgemma-4b-it.toml", tmp_path / "run"
    arguments = ["--config", str(config), "--data", str(data), "--captions", str(captions_file)]
    result = CliRunner().invoke(qlora, [*arguments, "--run", str(run)])
    assert result.exit_code == 1
    assert result.output.startswith("Error: google/medgemma-4b-it is not on this machine")
    assert not run.exists()


def test_training_without_captions_is_a_usage_error() -> None:
    result = CliRunner().invoke(qlora, ["--config", str(CONFIGS / "medgemma-4b-it.toml")])
    assert result.exit_code == 2
    assert "--data, --captions and --run are needed" in result.output


def test_an_unknown_setting_is_a_usage_error(tmp_path: Path) -> None:
    text = (CONFIGS / "medgemma-4b-it.toml").read_text(encoding="utf-8")
    config = tmp_path / "recipe.toml"
    config.write_text(text.replace("rank = 16", "ranc = 16"), encoding="utf-8")
    result = CliRunner().invoke(qlora, ["--config", str(config), "--dry-run"])
    assert result.exit_code == 2
    assert "`ranc` is not a setting" in result.output
