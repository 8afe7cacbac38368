"""A Hugging Face folder of a Gemma 3 vision-language model, read tensor by tensor.

Refuses at the door what the writers could only get silently wrong: a setting that llama.cpp takes
otherwise, a tensor that is missing, of another shape or left over. Safetensors only: a pickle is
code.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from export.errors import ExportError
from export.gemma3_config import expected_tensors, read_config
from export.stored_tensor import KINDS, StoredTensor, equal_values, tensors_in, weight_files

EMBEDDING = "language_model.embed_tokens.weight"
HEADS = ("lm_head.weight", "language_model.lm_head.weight")
UNUSED = re.compile(
    r"vision_tower\.vision_model\.head\."  # pools a picture to one vector; Gemma 3 takes patches
    r"|.*\.position_ids$|.*\.rotary_emb\.(original_)?inv_freq$"  # computed, not learnt
)


@dataclass(frozen=True)
class Checkpoint:
    folder: Path
    text: dict[str, Any]
    """config.json's text_config, with transformers' defaults."""
    vision: dict[str, Any]
    """config.json's vision_config, with transformers' defaults."""
    image_tokens: int
    tensors: tuple[StoredTensor, ...]
    """What the settings ask for, all of it, by name; a head equal to the embedding left out."""


def read_checkpoint(folder: Path) -> Checkpoint:
    """Raises: ExportError."""
    try:
        return _read(folder)
    except (OSError, ValueError, KeyError) as exc:
        raise ExportError(f"{folder}: cannot be read ({type(exc).__name__}: {exc})") from exc


def _read(folder: Path) -> Checkpoint:
    text, vision, image_tokens = read_config(folder)
    if not (folder / "tokenizer.model").is_file():
        raise ExportError(f"{folder}: no tokenizer.model (SentencePiece); copy it from the base")
    stored: dict[str, StoredTensor] = {}
    for tensor in _stored(folder):
        if twin := stored.get(tensor.name):
            raise ExportError(
                f"{folder}: {tensor.key} is stored twice, in {twin.file.name} and "
                f"{tensor.file.name}; keep one"
            )
        stored[tensor.name] = tensor
    _refuse_untied(folder, text, stored)
    expected = expected_tensors(text, vision)
    if missing := sorted(expected.keys() - stored.keys()):
        raise ExportError(
            f"{folder}: {len(missing)} tensors that config.json asks for are missing, the first "
            f"{missing[0]}; copy the whole folder again"
        )
    if left_over := sorted(stored.keys() - expected.keys()):
        raise ExportError(
            f"{folder}: no place in GGUF for the tensor {stored[left_over[0]].key}"
            + (f" and {len(left_over) - 1} more" if len(left_over) > 1 else "")
            + "; merge adapters first"
        )
    for name, shape in expected.items():
        if stored[name].shape != shape:
            raise ExportError(
                f"{stored[name].file}: {stored[name].key} is {stored[name].shape}, config.json "
                f"asks for {shape}"
            )
    tensors = tuple(stored[name] for name in sorted(expected))
    return Checkpoint(folder, text, vision, image_tokens, tensors)


def _stored(folder: Path) -> Iterator[StoredTensor]:
    for file in weight_files(folder):
        for key, dtype, shape, start, size_bytes in tensors_in(file):
            name = canonical_name(key)
            if UNUSED.match(name):
                continue
            if dtype not in KINDS:
                raise ExportError(f"{file}: {key} is {dtype}; give the model at full precision")
            yield StoredTensor(name, shape, file, key, dtype, start, size_bytes)


def _refuse_untied(folder: Path, text: dict[str, Any], stored: dict[str, StoredTensor]) -> None:
    """Drop a head that repeats the embedding; llama.cpp and transformers share the embedding."""
    heads = [stored.pop(name) for name in HEADS if name in stored]
    if not heads and not text.get("tie_word_embeddings", True):
        raise ExportError(f"{folder}: tie_word_embeddings is false and there is no lm_head.weight")
    for head in heads:
        if EMBEDDING in stored and not equal_values(head, stored[EMBEDDING]):
            raise ExportError(
                f"{head.file}: {head.key} is not the embedding, which Gemma 3 shares with it; "
                "train with tied embeddings"
            )


def canonical_name(key: str) -> str:
    """One spelling for what transformers 4 and 5 and the published files write."""
    name = key.removeprefix("model.") if not key.startswith("model.layers.") else key
    name = re.sub(r"^language_model\.model\.", "language_model.", name)
    return re.sub(
        r"^vision_tower\.(embeddings|encoder|post_layernorm|head)\.",
        r"vision_tower.vision_model.\1.",
        name,
    )
