"""A Hugging Face folder of a Gemma 3 vision-language model, read tensor by tensor.

Refuses at the door what the writers could only get silently wrong. Safetensors only: a pickle is
code.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

PARTS = ("language_model.", "vision_tower.", "multi_modal_projector.")
ARCHITECTURE = "Gemma3ForConditionalGeneration"


class ExportError(Exception):
    """A model that cannot be exported faithfully; the message names the file and the reason."""


@dataclass(frozen=True)
class StoredTensor:
    """One tensor of the folder; its values are read when asked for."""

    name: str
    """Canonical: `language_model.`, `vision_tower.vision_model.` or `multi_modal_projector.`."""
    shape: tuple[int, ...]
    file: Path
    key: str

    def read(self) -> NDArray[np.float32]:
        from safetensors import safe_open

        with safe_open(self.file, framework="pt") as tensors:  # numpy has no bfloat16
            values: NDArray[np.float32] = tensors.get_tensor(self.key).float().numpy()
        return values


@dataclass(frozen=True)
class Checkpoint:
    folder: Path
    text: dict[str, Any]
    """config.json's text_config."""
    vision: dict[str, Any]
    image_tokens: int
    tensors: tuple[StoredTensor, ...]


def read_checkpoint(folder: Path) -> Checkpoint:
    """Raises: ExportError."""
    from safetensors import SafetensorError

    try:
        return _read(folder)
    except (OSError, ValueError, KeyError, SafetensorError) as exc:
        raise ExportError(f"{folder}: cannot be read ({type(exc).__name__}: {exc})") from exc


def _read(folder: Path) -> Checkpoint:
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    if config.get("architectures") != [ARCHITECTURE]:
        raise ExportError(
            f"{folder}: architecture {config.get('architectures')}, expected {ARCHITECTURE}"
        )
    text, vision = config["text_config"], config["vision_config"]
    if text.get("query_pre_attn_scalar", text["head_dim"]) != text["head_dim"]:
        raise ExportError(
            f"{folder}: query_pre_attn_scalar {text['query_pre_attn_scalar']} is not head_dim "
            f"{text['head_dim']}; GGUF cannot carry it"
        )
    rope = text["rope_parameters"]
    if any(rope[kind].get("rope_type", "default") != "default" for kind in rope):
        raise ExportError(f"{folder}: scaled rotary positions ({rope}) are not written to GGUF")
    kinds = [
        "full" if (layer + 1) % 6 == 0 else "sliding" for layer in range(len(text["layer_types"]))
    ]
    if text["layer_types"] != [f"{kind}_attention" for kind in kinds]:
        raise ExportError(f"{folder}: llama.cpp takes every sixth layer as full, not layer_types")
    if text["hidden_activation"] != "gelu_pytorch_tanh":
        raise ExportError(f"{folder}: hidden_activation {text['hidden_activation']} is not GELU")
    if vision["intermediate_size"] == vision["hidden_size"]:
        raise ExportError(f"{folder}: the tower's feed-forward is as wide as the tower")
    if not (folder / "tokenizer.model").is_file():
        raise ExportError(f"{folder}: no tokenizer.model (SentencePiece)")
    if pickles := sorted(path.name for path in folder.glob("*.bin")):
        raise ExportError(f"{folder}: pickled weights are not read: {', '.join(pickles)}")
    tensors = tuple(sorted(_stored(folder), key=lambda tensor: tensor.name))
    if left_over := [tensor.key for tensor in tensors if not tensor.name.startswith(PARTS)]:
        raise ExportError(f"{folder}: tensors with no place in GGUF: {', '.join(left_over)}")
    return Checkpoint(folder, text, vision, int(config["mm_tokens_per_image"]), tensors)


def _stored(folder: Path) -> Iterator[StoredTensor]:
    from safetensors import safe_open

    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise ExportError(f"{folder}: no safetensors file")
    for file in files:
        with safe_open(file, framework="pt") as tensors:
            for key in tensors.keys():  # noqa: SIM118 - not a mapping
                shape = tuple(tensors.get_slice(key).get_shape())
                yield StoredTensor(canonical_name(key), shape, file, key)


def canonical_name(key: str) -> str:
    """One spelling for what transformers 4 and 5 and the published files write."""
    name = key.removeprefix("model.") if not key.startswith("model.layers.") else key
    name = re.sub(r"^language_model\.model\.", "language_model.", name)
    return re.sub(
        r"^vision_tower\.(embeddings|encoder|post_layernorm|head)\.",
        r"vision_tower.vision_model.\1.",
        name,
    )
