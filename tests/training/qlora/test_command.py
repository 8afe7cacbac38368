"""The whole verb on a tiny base: captions in, an adapter out, and nothing done twice."""

import json
import re
from pathlib import Path

from click.testing import CliRunner

from appliance.core.caption import caption_json
from tests.training.qlora.test_estimate import config_of
from training.checkpoint import weights_hash
from training.labels import label_table
from training.qlora.command import qlora
from training.qlora.geometry import BaseGeometry
from training.tokenizer import load_tokenizer, train_tokenizer

GEOMETRY = BaseGeometry(704, 64, 64, 2, 2, 1, 32, 32, 40, 1, False, 28, 14, 4)
RECIPE = """
name = "tiny"
seed = 0
base = "{base}"

[adapter]
rank = 2
alpha = 2
dropout = 0.05
vision = "{vision}"

[quantization]
kind = "nf4"
double = true
compute = "bfloat16"

[steps]
learning_rate = 1e-3
warm_up_share = 0.1
weight_decay = 0.0
largest_gradient_norm = 0.3
batch = 4
pack_tokens = 512
epochs = 0.2
views = 2
keeps_sides = false
label_weight = 2.0
balance = 0.5
domain_share = {{ skin = 0.4, fundus = 0.4, chest = 0.2 }}
gradient_checkpointing = true
save_every = 1
patience = 9
validated = 2
"""


def write_base(folder: Path, seed: int = 0) -> None:
    import torch
    from transformers import Gemma3ForConditionalGeneration

    torch.manual_seed(seed)
    train_tokenizer([caption_json(row.caption) for row in label_table()], 640, folder)
    tokenizer = load_tokenizer(folder)
    assert len(tokenizer) <= GEOMETRY.vocabulary
    config = config_of(GEOMETRY, query_pre_attn_scalar=32, max_position_embeddings=512)
    config.update({"image_token_index": tokenizer.convert_tokens_to_ids("<image_soft_token>")})
    Gemma3ForConditionalGeneration(config).save_pretrained(folder)


def test_the_command_trains_and_a_second_call_does_nothing_again(
    data: Path, captions_file: Path, tmp_path: Path
) -> None:
    write_base(tmp_path / "base")
    for vision in ("frozen", "tuned"):
        config, run = tmp_path / f"{vision}.toml", tmp_path / vision
        config.write_text(RECIPE.format(base=tmp_path / "base", vision=vision), encoding="utf-8")
        arguments = ["--config", str(config), "--data", str(data), "--run", str(run)]
        arguments += ["--captions", str(captions_file)]
        steps = []
        for _ in range(2):
            result = CliRunner().invoke(qlora, arguments, catch_exceptions=False)
            assert result.exit_code == 0, result.output
            steps += re.findall(r"(\d+) steps from (\d+),", result.output)
            assert result.stdout.strip() == str(run / "adapter")
        assert steps == [(steps[0][0], "0"), (steps[0][0], steps[0][0])]
        assert (run / "adapter" / "adapter_model.safetensors").is_file()
        counted = CliRunner().invoke(qlora, [*arguments, "--dry-run"], catch_exceptions=False)
        assert "(counted over " in counted.output
        assert f"in {steps[0][0]} steps" in counted.output


def test_another_recipe_on_the_same_run_is_refused(
    data: Path, captions_file: Path, tmp_path: Path
) -> None:
    write_base(tmp_path / "base")
    config = tmp_path / "recipe.toml"
    text = RECIPE.format(base=tmp_path / "base", vision="frozen")
    arguments = ["--config", str(config), "--data", str(data), "--run", str(tmp_path / "run")]
    arguments += ["--captions", str(captions_file)]
    outputs = []
    for rank in (2, 4):
        config.write_text(text.replace("rank = 2", f"rank = {rank}"), encoding="utf-8")
        outputs.append(CliRunner().invoke(qlora, arguments))
    assert outputs[0].exit_code == 0, outputs[0].output
    assert outputs[1].exit_code == 2
    assert "was begun with another recipe" in outputs[1].output


def test_another_base_in_its_folder_or_other_captions_are_refused(
    data: Path, captions_file: Path, tmp_path: Path
) -> None:
    base, run = tmp_path / "base", tmp_path / "run"
    write_base(base)
    first = weights_hash(base)
    config = tmp_path / "recipe.toml"
    config.write_text(RECIPE.format(base=base, vision="frozen"), encoding="utf-8")
    arguments = ["--config", str(config), "--data", str(data), "--run", str(run)]
    arguments += ["--captions", str(captions_file)]
    assert CliRunner().invoke(qlora, arguments).exit_code == 0
    adapter = run / "adapter"
    before = {file.name: file.read_bytes() for file in adapter.iterdir()}
    assert json.loads(before["training.json"])["base_sha256"] == first

    write_base(base, seed=1)
    result = CliRunner().invoke(qlora, arguments)
    assert result.exit_code == 2
    assert "another recipe or other inputs (base_sha256); bring those back" in result.output

    write_base(base)
    whole = captions_file.read_text(encoding="utf-8")
    captions_file.write_text(whole.replace("dermoscopy", "photograph", 1), encoding="utf-8")
    result = CliRunner().invoke(qlora, arguments)
    assert result.exit_code == 2
    assert "other inputs (material_sha256)" in result.output
    assert {file.name: file.read_bytes() for file in adapter.iterdir()} == before
