"""Claims about models as published: their settings are read, and llama.cpp computes the same."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from export.checkpoint import read_checkpoint
from export.errors import ExportError
from export.gemma3_config import expected_tensors, read_config
from export.text_gguf import plan_text, write_text_gguf
from tests.export.published import (
    GEMMA_4B,
    MEDGEMMA_4B,
    MEDGEMMA_27B,
    TINY,
    Published,
    add_head,
    random_weights,
    respell,
    write_folder,
)

LARGEST_DIFFERENCE = 0.01


def with_text(model: Published, **settings: Any) -> Published:
    return replace(model, text={**model.text, **settings})


def config_of(model: Published, folder: Path) -> Path:
    import json

    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(model.config()), encoding="utf-8")
    return folder


def test_what_a_published_file_leaves_out_is_gemma_3s_own(tmp_path: Path) -> None:
    short, _, _ = read_config(config_of(GEMMA_4B, tmp_path / "short"))
    long, _, _ = read_config(config_of(MEDGEMMA_4B, tmp_path / "long"))
    asked = ("head_dim", "num_attention_heads", "num_key_value_heads", "vocab_size", "rms_norm_eps")
    assert [short[name] for name in asked] == [256, 8, 4, 262208, 1e-6]
    for name in (*asked, "rope_parameters", "layer_types", "max_position_embeddings"):
        assert short[name] == long[name]
    assert short["rope_parameters"]["full_attention"]["factor"] == 8


@pytest.mark.parametrize("model", [MEDGEMMA_4B, MEDGEMMA_27B])
def test_settings_as_transformers_5_saves_them_are_the_same(
    tmp_path: Path, model: Published
) -> None:
    """Rotary positions by kind of layer, layer_types, dtype: as MedGemma 1.5 has them."""
    from transformers import Gemma3Config

    older = config_of(model, tmp_path / "older")
    Gemma3Config.from_pretrained(older).save_pretrained(tmp_path / "newer")
    assert "rope_parameters" in (tmp_path / "newer" / "config.json").read_text(encoding="utf-8")
    found = [read_config(folder) for folder in (older, tmp_path / "newer")]
    for of_older, of_newer in zip(found[0][:2], found[1][:2], strict=True):
        shared = of_older.keys() & of_newer.keys() - {"transformers_version"}
        assert {key: of_older[key] for key in shared} == {key: of_newer[key] for key in shared}
    assert found[0][2] == found[1][2]


@pytest.mark.parametrize(
    ("model", "tensors", "parameters"),
    [(MEDGEMMA_4B, 883, 4_300_079_472), (MEDGEMMA_27B, 1247, 27_432_406_640)],
)
def test_the_settings_ask_for_as_many_parameters_as_are_published(
    tmp_path: Path, model: Published, tensors: int, parameters: int
) -> None:
    text, vision, _ = read_config(config_of(model, tmp_path / "model"))
    shapes = expected_tensors(text, vision)
    assert len(shapes) == tensors
    assert sum(int(np.prod(shape)) for shape in shapes.values()) == parameters


DEEP = with_text(TINY, num_hidden_layers=62, head_dim=16, num_key_value_heads=2)
"""Of the 27B's depth, by which llama.cpp tells it: queries scaled by 64 / 2, not by 16."""
YARN = {"rope_type": "yarn", "factor": 8.0, "original_max_position_embeddings": 2048}


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (with_text(TINY, query_pre_attn_scalar=64), "query_pre_attn_scalar 64 is not head_dim 32"),
        (with_text(DEEP, query_pre_attn_scalar=16), "16 is not hidden_size / .* 32"),
        (with_text(TINY, rope_scaling=YARN), "rotary positions .*yarn"),
        (with_text(TINY, sliding_window_pattern=2), "every sixth layer"),
        (with_text(TINY, hidden_activation="relu"), "hidden_activation relu"),
        (with_text(TINY, attn_logit_softcapping=50.0), r"attn_logit_softcapping 50\.0"),
        (with_text(TINY, use_bidirectional_attention=True), "use_bidirectional_attention True"),
        (with_text(TINY, hidden_size="wide"), r"config\.json is not Gemma 3's .*hidden_size"),
        (with_text(TINY, model_type="gemma3n_text"), "of the kind gemma3n_text"),
        (replace(TINY, vision={"image_size": 57, "patch_size": 14}), "as wide|do not pool"),
        (replace(TINY, image_tokens=5), "4 by 4 patches do not pool to 5 tokens"),
    ],
)
def test_a_setting_that_llama_cpp_takes_otherwise_is_refused(
    tmp_path: Path, model: Published, reason: str
) -> None:
    folder = config_of(model, tmp_path / "model")
    with pytest.raises(ExportError, match=f"{folder}: .*{reason}"):
        read_config(folder)


@pytest.mark.parametrize(
    "architecture",
    [
        *("Gemma2ForCausalLM", "PaliGemmaForConditionalGeneration", "Gemma3ForCausalLM"),
        *("Gemma3nForConditionalGeneration", "MedSiglipModel"),
    ],
)
def test_another_architecture_is_refused_by_name(tmp_path: Path, architecture: str) -> None:
    import json

    folder = config_of(TINY, tmp_path / "model")
    config = {**TINY.config(), "architectures": [architecture]}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    with pytest.raises(ExportError, match=f"architecture .*{architecture}.*, expected Gemma3For"):
        read_checkpoint(folder)


Spelling = Callable[[str], str]


@pytest.mark.parametrize(
    "spelling",
    [
        lambda name: "model." + name.replace("language_model.model.", "language_model."),
        lambda name: name.replace("language_model.model.", "model.language_model.").replace(
            "vision_tower.vision_model.", "model.vision_tower."
        ),
    ],
)
def test_every_spelling_gives_the_same_plan(
    published: Path, copied: Path, spelling: Spelling
) -> None:
    respell(copied, spelling)
    ours, theirs = (read_checkpoint(folder).tensors for folder in (copied, published))
    assert [(one.name, one.shape) for one in ours] == [(one.name, one.shape) for one in theirs]
    assert all(np.array_equal(a.read(), b.read()) for a, b in zip(ours, theirs, strict=True))


def test_a_head_that_repeats_the_embedding_is_left_out(published: Path, copied: Path) -> None:
    add_head(copied, lambda embedding: embedding)
    assert [one.name for one in read_checkpoint(copied).tensors] == [
        one.name for one in read_checkpoint(published).tensors
    ]
    assert "output.weight" not in plan_text(read_checkpoint(copied), "tiny").writer.tensors[0]


def test_a_head_of_its_own_is_refused(copied: Path) -> None:
    add_head(copied, lambda embedding: embedding * 2)
    with pytest.raises(ExportError, match=r"lm_head\.weight is not the embedding"):
        read_checkpoint(copied)


@pytest.mark.slow
@pytest.mark.parametrize(
    "model",
    [
        TINY,
        with_text(DEEP, query_pre_attn_scalar=32),
        with_text(TINY, rope_scaling=None, rope_theta=500.0, rope_local_base_freq=50.0),
    ],
    ids=["linear positions", "27B's scale", "other bases"],
)
def test_llama_cpp_computes_what_transformers_does(tmp_path: Path, model: Published) -> None:
    """Over more tokens than the sliding window, so that both kinds of layer tell."""
    folder = write_folder(tmp_path / "model", model, random_weights())
    write_text_gguf(read_checkpoint(folder), tmp_path / "model.gguf", "tiny")
    tokens = [2, *np.random.default_rng(0).integers(400, 900, 90).tolist()]
    theirs = transformers_logits(folder, tokens)
    ours = llama_logits(tmp_path / "model.gguf", tokens)
    assert np.abs(theirs).max() > 1
    assert np.abs(ours - theirs).max() < LARGEST_DIFFERENCE * np.abs(theirs).max()


def transformers_logits(folder: Path, tokens: list[int]) -> Any:
    import torch
    from transformers import Gemma3ForConditionalGeneration

    model = Gemma3ForConditionalGeneration.from_pretrained(folder, dtype=torch.float32)
    with torch.inference_mode():
        return model.eval()(input_ids=torch.tensor([tokens])).logits[0].float().numpy()


def llama_logits(file: Path, tokens: list[int]) -> Any:
    from llama_cpp import Llama

    llama = Llama(str(file), n_ctx=128, n_batch=128, n_threads=1, logits_all=True, verbose=False)
    try:
        llama.eval(tokens)
        return np.array(llama.scores[: len(tokens)])
    finally:
        llama.close()
