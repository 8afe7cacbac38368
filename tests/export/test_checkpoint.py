"""Claims about reading a model's folder: three spellings, one name; what is refused and why."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from export.checkpoint import canonical_name, read_checkpoint
from export.errors import ExportError
from tests.training.tiny import RECIPE

CopyModel = Callable[..., Path]

LAYER = "layers.3.self_attn.q_norm.weight"
BLOCK = "encoder.layers.3.layer_norm1.bias"
PROJECTION = "multi_modal_projector.mm_input_projection_weight"


@pytest.mark.parametrize(
    ("key", "name"),
    [
        # As published with MedGemma and Gemma 3.
        (f"language_model.model.{LAYER}", f"language_model.{LAYER}"),
        ("language_model.model.embed_tokens.weight", "language_model.embed_tokens.weight"),
        (f"vision_tower.vision_model.{BLOCK}", f"vision_tower.vision_model.{BLOCK}"),
        (PROJECTION, PROJECTION),
        # As transformers 4 holds them.
        (f"model.language_model.{LAYER}", f"language_model.{LAYER}"),
        (f"model.vision_tower.vision_model.{BLOCK}", f"vision_tower.vision_model.{BLOCK}"),
        (f"model.{PROJECTION}", PROJECTION),
        # As transformers 5 holds them.
        (f"model.vision_tower.{BLOCK}", f"vision_tower.vision_model.{BLOCK}"),
        (f"vision_tower.{BLOCK}", f"vision_tower.vision_model.{BLOCK}"),
        (
            "model.vision_tower.embeddings.patch_embedding.weight",
            "vision_tower.vision_model.embeddings.patch_embedding.weight",
        ),
        (
            "model.vision_tower.post_layernorm.weight",
            "vision_tower.vision_model.post_layernorm.weight",
        ),
        ("model.language_model.norm.weight", "language_model.norm.weight"),
    ],
)
def test_every_spelling_of_a_tensor_becomes_one_name(key: str, name: str) -> None:
    assert canonical_name(key) == name
    assert canonical_name(name) == name


def test_a_saved_model_has_only_canonical_names(model: Path) -> None:
    checkpoint = read_checkpoint(model)
    prefixes = ("language_model.", "vision_tower.vision_model.", "multi_modal_projector.mm_")
    names = [tensor.name for tensor in checkpoint.tensors]
    assert names == sorted(set(names))
    assert all(name.startswith(prefixes) for name in names)
    assert checkpoint.image_tokens == 4
    assert checkpoint.vision["image_size"] == RECIPE.geometry.image_size


def test_a_tensor_reads_as_it_was_stored(model: Path) -> None:
    stored = load_file(model / "model.safetensors")
    for tensor in read_checkpoint(model).tensors:
        assert tensor.shape == tuple(stored[tensor.key].shape)
        assert np.array_equal(tensor.read(), stored[tensor.key].numpy())


def test_bfloat16_weights_are_read(model: Path, copy_model: CopyModel) -> None:
    folder = copy_model()
    stored = load_file(model / "model.safetensors")
    half = {name: tensor.to(torch.bfloat16) for name, tensor in stored.items()}
    save_file(half, folder / "model.safetensors")
    for tensor in read_checkpoint(folder).tensors:
        values = tensor.read()
        assert values.dtype == np.float32
        assert np.array_equal(values, half[tensor.key].float().numpy())


def test_weights_in_several_files_are_read_together(model: Path, copy_model: CopyModel) -> None:
    folder = copy_model()
    stored = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    for number in (1, 2):
        part = dict(list(stored.items())[number - 1 :: 2])
        save_file(part, folder / f"model-{number:05}-of-00002.safetensors")
    names = [tensor.name for tensor in read_checkpoint(folder).tensors]
    assert names == [tensor.name for tensor in read_checkpoint(model).tensors]


def other_architecture(config: dict[str, Any]) -> None:
    config["architectures"] = ["LlamaForCausalLM"]


def other_attention_scale(config: dict[str, Any]) -> None:
    config["text_config"]["query_pre_attn_scalar"] = 168


def narrow_feed_forward(config: dict[str, Any]) -> None:
    config["vision_config"]["intermediate_size"] = config["vision_config"]["hidden_size"]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (other_architecture, "LlamaForCausalLM.*expected Gemma3ForConditionalGeneration"),
        (other_attention_scale, "query_pre_attn_scalar 168 is not head_dim 64"),
        (narrow_feed_forward, "feed-forward is as wide as the tower"),
    ],
)
def test_what_gguf_cannot_say_is_refused_by_name(
    copy_model: CopyModel, change: Callable[[dict[str, Any]], None], reason: str
) -> None:
    folder = copy_model(change)
    with pytest.raises(ExportError, match=f"{folder}.*{reason}"):
        read_checkpoint(folder)


def test_a_model_without_its_sentencepiece_file_is_refused(copy_model: CopyModel) -> None:
    folder = copy_model()
    (folder / "tokenizer.model").unlink()
    with pytest.raises(ExportError, match=r"no tokenizer\.model"):
        read_checkpoint(folder)


def test_pickled_weights_are_refused_even_beside_safe_ones(copy_model: CopyModel) -> None:
    folder = copy_model()
    (folder / "pytorch_model.bin").write_bytes(b"\x80\x04.")
    with pytest.raises(ExportError, match=r"pickled weights are not read: pytorch_model\.bin"):
        read_checkpoint(folder)


def test_a_model_without_weights_is_refused(copy_model: CopyModel) -> None:
    folder = copy_model()
    (folder / "model.safetensors").unlink()
    with pytest.raises(ExportError, match="no safetensors file"):
        read_checkpoint(folder)


@pytest.mark.parametrize(
    "key", ["lm_head.weight", "base_model.model.language_model.layers.0.self_attn.lora_A.weight"]
)
def test_a_tensor_that_would_be_left_out_is_refused(copy_model: CopyModel, key: str) -> None:
    """A head trained apart from the embedding, or an adapter not merged."""
    folder = copy_model()
    stored = load_file(folder / "model.safetensors")
    save_file(stored | {key: torch.ones(1024, 128)}, folder / "model.safetensors")
    with pytest.raises(ExportError, match=key):
        read_checkpoint(folder)


def scaled_rope(config: dict[str, Any]) -> None:
    config["text_config"]["rope_parameters"]["full_attention"] |= {
        "rope_type": "dynamic",
        "factor": 8.0,
    }


def every_second_layer_full(config: dict[str, Any]) -> None:
    config["text_config"]["layer_types"] = ["sliding_attention", "full_attention"]


def other_activation(config: dict[str, Any]) -> None:
    config["text_config"]["hidden_activation"] = "relu"


@pytest.mark.parametrize("change", [scaled_rope, every_second_layer_full, other_activation])
def test_a_setting_the_writers_do_not_carry_is_refused(
    copy_model: CopyModel, tmp_path: Path, change: Callable[[dict[str, Any]], None]
) -> None:
    from export.text_gguf import write_text_gguf

    folder = copy_model(change)
    with pytest.raises(ExportError):
        write_text_gguf(read_checkpoint(folder), tmp_path / "model.gguf", "tiny")


@pytest.mark.parametrize("damage", ["no config", "no JSON", "no text_config", "cut weights"])
def test_a_damaged_folder_is_an_export_error(copy_model: CopyModel, damage: str) -> None:
    folder = copy_model()
    config, weights = folder / "config.json", folder / "model.safetensors"
    if damage == "no config":
        config.unlink()
    elif damage == "no JSON":
        config.write_text("{", encoding="utf-8")
    elif damage == "no text_config":
        described = json.loads(config.read_text(encoding="utf-8"))
        del described["text_config"]
        config.write_text(json.dumps(described), encoding="utf-8")
    else:
        weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(ExportError, match=str(folder)):
        read_checkpoint(folder)


def test_reading_a_folder_changes_nothing_in_it(copy_model: CopyModel, tmp_path: Path) -> None:
    folder = copy_model()
    before = shutil.copytree(folder, tmp_path / "before")
    read_checkpoint(folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == {
        path.name: path.read_bytes() for path in before.iterdir()
    }
