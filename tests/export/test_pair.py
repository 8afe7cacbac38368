"""Claims about the GGUF pair: llama.cpp reads it, and says what transformers says."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from safetensors.torch import load_file

from appliance.core.caption import CaptionFormatError, parse_caption
from appliance.core.labels import LabelSet
from appliance.release.manifest import MODEL, PROJECTOR, read_release
from appliance.wiring import open_captioner
from export.agreement import check_prompt_tokens
from export.checkpoint import read_checkpoint
from export.errors import ExportError
from export.text_gguf import write_text_gguf
from export.vision_gguf import write_vision_gguf
from training.evaluation.asking import Answer, ask_model, ask_release
from training.evaluation.questions import Question, read_questions
from training.labels import label_set

CopyModel = Callable[..., Path]
LARGEST_DIFFERENCE = 0.02


@pytest.fixture(scope="module")
def labels() -> LabelSet:
    return label_set()


@pytest.fixture(scope="module")
def questions(data: Path) -> list[Question]:
    return read_questions(data, "test")


@pytest.fixture(scope="module")
def parent(model: Path, labels: LabelSet, questions: list[Question]) -> list[Answer]:
    return list(ask_model(model, labels, questions))


@pytest.fixture(scope="module")
def exported(release: Path, questions: list[Question]) -> list[Answer]:
    with open_captioner(read_release(release), threads=1) as captioner:
        return list(ask_release(captioner, questions))


@pytest.fixture(scope="module")
def stored(model: Path) -> dict[str, Any]:
    """The model's values by canonical name, as the safetensors library reads them."""
    values = load_file(model / "model.safetensors")
    return {tensor.name: values[tensor.key].numpy() for tensor in read_checkpoint(model).tensors}


def tensors(file: Path) -> dict[str, Any]:
    return {tensor.name: tensor for tensor in gguf.GGUFReader(file).tensors}


def largest_difference(parent: list[Answer], exported: list[Answer]) -> float:
    """Of any label's log-probability, in nats."""
    a, b = (np.array([answer.label_scores for answer in side]) for side in (parent, exported))
    return float(np.abs(a - b).max())


def test_the_pair_finds_the_same_label_in_every_picture(
    parent: list[Answer], exported: list[Answer]
) -> None:
    found = [[np.argmax(answer.label_scores) for answer in side] for side in (parent, exported)]
    assert found[0] == found[1]
    assert len({answer.label_scores for answer in parent}) == len(parent)


def test_the_pairs_label_scores_are_the_parents(
    parent: list[Answer], exported: list[Answer]
) -> None:
    assert largest_difference(parent, exported) < LARGEST_DIFFERENCE


def test_the_pairs_label_probabilities_are_the_parents(
    parent: list[Answer], exported: list[Answer]
) -> None:
    """As above, where what all labels share has been taken out."""

    def normalised(answers: list[Answer]) -> Any:
        scores = np.array([answer.label_scores for answer in answers])
        return np.exp(scores) / np.exp(scores).sum(1, keepdims=True)

    assert np.abs(normalised(parent) - normalised(exported)).max() < LARGEST_DIFFERENCE


def test_a_caption_that_parses_is_the_same_on_both_sides(
    parent: list[Answer], exported: list[Answer], labels: LabelSet
) -> None:
    compared = 0
    for ours, theirs in zip(parent, exported, strict=True):
        try:
            caption = parse_caption(ours.text, labels)
        except CaptionFormatError:
            continue
        if labels.names.index(caption.label) == int(np.argmax(ours.label_scores)):
            assert theirs.text == ours.text
            compared += 1
    assert compared, "the tiny model wrote no caption: train it longer"


def test_the_clinics_captions_begin_with_the_likeliest_label(
    exported: list[Answer], labels: LabelSet
) -> None:
    for answer in exported:
        assert answer.text.startswith(
            f'{{"label": "{labels.names[int(np.argmax(answer.label_scores))]}"'
        )


def test_a_deep_model_with_a_full_attention_layer_agrees_too(
    run: Path, model: Path, release: Path, tmp_path: Path, labels: LabelSet, data: Path
) -> None:
    """The sixth layer of a Gemma 3 decoder attends to everything, with positions of its own."""
    from dataclasses import replace

    import torch

    from tests.training.tiny import RECIPE
    from training.captioner import build_captioner
    from training.tokenizer import load_tokenizer

    geometry = replace(RECIPE.geometry, text_depth=7)
    torch.manual_seed(0)
    tokenizer = load_tokenizer(model)
    deep = build_captioner(geometry, tokenizer, run / "tower.safetensors")
    folder, pair = tmp_path / "deep", tmp_path / "release"
    deep.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    (folder / "tokenizer.model").write_bytes((model / "tokenizer.model").read_bytes())
    assert "full_attention" in read_checkpoint(folder).text["layer_types"]
    write_pair(folder, pair, release)
    questions = read_questions(data, "test")[:2]
    with open_captioner(read_release(pair), threads=1) as captioner:
        exported = list(ask_release(captioner, questions))
    parent = list(ask_model(folder, labels, questions, write=False))
    assert largest_difference(parent, exported) < LARGEST_DIFFERENCE


def write_pair(folder: Path, pair: Path, like: Path) -> None:
    """The model of `folder` as a release with the manifest of another, its hashes made right."""
    from appliance.release.manifest import MANIFEST, hash_file

    pair.mkdir()
    checkpoint = read_checkpoint(folder)
    write_text_gguf(checkpoint, pair / MODEL, "tiny")
    write_vision_gguf(checkpoint, pair / PROJECTOR, "tiny")
    manifest = json.loads((like / MANIFEST).read_text(encoding="utf-8")) | {"files": {}}
    for name in (MODEL, PROJECTOR):
        file = pair / name
        manifest["files"][name] = {"sha256": hash_file(file), "size_bytes": file.stat().st_size}
    (pair / MANIFEST).write_text(json.dumps(manifest), encoding="utf-8")


def test_prompt_and_labels_are_the_same_tokens_on_both_sides(
    model: Path, release: Path, labels: LabelSet
) -> None:
    check_prompt_tokens(model, release / MODEL, labels)


def test_a_mark_that_was_lost_on_the_way_is_noticed(
    model: Path, copy_model: CopyModel, tmp_path: Path, labels: LabelSet
) -> None:
    folder = copy_model()
    file = folder / "tokenizer.json"
    described = json.loads(file.read_text(encoding="utf-8"))
    described["added_tokens"] = [
        token for token in described["added_tokens"] if token["content"] != "<start_of_turn>"
    ]
    file.write_text(json.dumps(described), encoding="utf-8")
    write_text_gguf(read_checkpoint(folder), tmp_path / MODEL, "tiny")
    with pytest.raises(ExportError, match="tokens differ for '<start_of_turn>"):
        check_prompt_tokens(model, tmp_path / MODEL, labels)


def test_decoder_norms_carry_the_one_that_gemma_adds(stored: dict[str, Any], release: Path) -> None:
    found = tensors(release / MODEL)
    for ours, theirs in {
        "layers.1.input_layernorm": "blk.1.attn_norm",
        "layers.1.post_attention_layernorm": "blk.1.post_attention_norm",
        "layers.1.pre_feedforward_layernorm": "blk.1.ffn_norm",
        "layers.1.post_feedforward_layernorm": "blk.1.post_ffw_norm",
        "layers.1.self_attn.q_norm": "blk.1.attn_q_norm",
        "layers.1.self_attn.k_norm": "blk.1.attn_k_norm",
        "norm": "output_norm",
    }.items():
        tensor = found[f"{theirs}.weight"]
        assert tensor.tensor_type == gguf.GGMLQuantizationType.F32
        assert np.array_equal(tensor.data, stored[f"language_model.{ours}.weight"] + 1)


def test_of_the_projector_only_gemmas_own_norm_carries_the_one(
    stored: dict[str, Any], release: Path
) -> None:
    found = tensors(release / PROJECTOR)
    for ours, theirs, added in [
        ("multi_modal_projector.mm_soft_emb_norm.weight", "mm.soft_emb_norm.weight", 1),
        ("vision_tower.vision_model.encoder.layers.0.layer_norm1.weight", "v.blk.0.ln1.weight", 0),
        ("vision_tower.vision_model.post_layernorm.weight", "v.post_ln.weight", 0),
    ]:
        assert np.array_equal(found[theirs].data, stored[ours] + added)


def test_every_tensor_of_the_model_is_in_the_pair(model: Path, release: Path) -> None:
    pair = tensors(release / MODEL) | tensors(release / PROJECTOR)
    stored = read_checkpoint(model).tensors
    assert len(pair) == len(stored)
    assert sum(int(tensor.n_elements) for tensor in pair.values()) == sum(
        int(np.prod(tensor.shape)) for tensor in stored
    )


def test_matrices_are_halved_and_only_rounded(stored: dict[str, Any], release: Path) -> None:
    tensor = tensors(release / MODEL)["token_embd.weight"]
    assert tensor.tensor_type == gguf.GGMLQuantizationType.F16
    assert np.array_equal(
        tensor.data, stored["language_model.embed_tokens.weight"].astype(np.float16)
    )


@pytest.mark.parametrize(("image_tokens", "pooled"), [(1, None), (4, 2), (16, 1)])
def test_the_pooling_is_written_unless_it_is_clips_own(
    copy_model: CopyModel, tmp_path: Path, image_tokens: int, pooled: int | None
) -> None:
    def change(config: dict[str, Any]) -> None:
        config["mm_tokens_per_image"] = image_tokens

    file = tmp_path / PROJECTOR
    write_vision_gguf(read_checkpoint(copy_model(change)), file, "tiny")
    field = gguf.GGUFReader(file).get_field("clip.vision.projector.scale_factor")
    assert (field.contents() if field else None) == pooled


def test_a_pair_file_is_whole_or_not_there(copy_model: CopyModel, tmp_path: Path) -> None:
    folder = copy_model()
    checkpoint = read_checkpoint(folder)
    (folder / "model.safetensors").unlink()
    with pytest.raises(ExportError, match=r"model\.safetensors"):
        write_text_gguf(checkpoint, tmp_path / MODEL, "tiny")
    assert not (tmp_path / MODEL).exists()


def test_a_tensor_with_no_place_in_gguf_is_named(copy_model: CopyModel, tmp_path: Path) -> None:
    import torch
    from safetensors.torch import save_file

    folder = copy_model()
    stored = load_file(folder / "model.safetensors")
    key = "model.language_model.layers.0.surprise.weight"
    save_file(stored | {key: torch.ones(2)}, folder / "model.safetensors")
    with pytest.raises(ExportError, match=f"no place in GGUF for the tensor {key}"):
        write_text_gguf(read_checkpoint(folder), tmp_path / MODEL, "tiny")
