"""GGUF files written to order: any metadata, any tensors, weights of holes."""

import math
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from appliance.release.gguf_header import BLOCKS

F32, F16 = 0, 1
Metadata = dict[str, Any]
Tensors = dict[str, tuple[tuple[int, ...], int]]
"""Name to shape, as GGUF has it, and type."""

MARKS = ("<start_of_turn>", "<end_of_turn>", "<start_of_image>", "<end_of_image>")


def write_gguf(path: Path, metadata: Mapping[str, Any], tensors: Tensors) -> Path:
    """A file whose tensors are all zeros and take no room on the disk."""
    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(metadata))
    head += b"".join(_string(key) + _value(value) for key, value in metadata.items())
    offset = 0
    for name, (shape, kind) in tensors.items():
        head += _string(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, kind, offset)
        _, values, block_bytes = BLOCKS[kind]
        offset += -(-math.prod(shape) // values * block_bytes // 32) * 32
    with path.open("wb") as file:
        file.write(head)
        file.truncate(len(head) + -len(head) % 32 + offset)
    return path


def text_model(
    layers: int = 34,
    width: int = 2560,
    inner: int = 10240,
    heads: int = 8,
    kind: int = F16,
    name: str = "Medgemma 4b It",
) -> tuple[Metadata, Tensors]:
    """Gemma 3 with MedGemma 4B's geometry, but for a small vocabulary."""
    head = 256
    tokens = ["<pad>", "<eos>", "<bos>", "<unk>", *MARKS, *"abcdefgh"]
    metadata: Metadata = {
        "general.architecture": "gemma3",
        "general.type": "model",
        "general.name": name,
        "general.file_type": 1,
        "gemma3.context_length": 131072,
        "gemma3.embedding_length": width,
        "gemma3.block_count": layers,
        "gemma3.feed_forward_length": inner,
        "gemma3.attention.head_count": heads,
        "gemma3.attention.head_count_kv": heads // 2,
        "gemma3.attention.key_length": head,
        "gemma3.attention.value_length": head,
        "gemma3.attention.layer_norm_rms_epsilon": 1e-6,
        "gemma3.attention.sliding_window": 1024,
        "gemma3.rope.freq_base": 1e6,
        "gemma3.rope.scaling.type": "linear",
        "gemma3.rope.scaling.factor": 8.0,
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.scores": [0.0] * len(tokens),
        "tokenizer.ggml.token_type": [3, 3, 3, 2, 3, 3, 3, 3, *[1] * 8],
        "tokenizer.ggml.bos_token_id": 2,
        "tokenizer.ggml.add_bos_token": True,
        "tokenizer.ggml.add_space_prefix": False,
    }
    tensors: Tensors = {
        "token_embd.weight": ((width, len(tokens)), kind),
        "output_norm.weight": ((width,), F32),
    }
    for number in range(layers):
        for part, shape in {
            "attn_norm": (width,),
            "attn_q": (width, heads * head),
            "attn_k": (width, heads // 2 * head),
            "attn_v": (width, heads // 2 * head),
            "attn_output": (heads * head, width),
            "attn_q_norm": (head,),
            "attn_k_norm": (head,),
            "post_attention_norm": (width,),
            "ffn_norm": (width,),
            "ffn_gate": (width, inner),
            "ffn_up": (width, inner),
            "ffn_down": (inner, width),
            "post_ffw_norm": (width,),
        }.items():
            tensors[f"blk.{number}.{part}.weight"] = (shape, F32 if len(shape) == 1 else kind)
    return metadata, tensors


def projector(
    text_width: int = 2560, name: str = "Medgemma 4b It", *, old_names: bool = False
) -> tuple[Metadata, Tensors]:
    """MedGemma's vision tower; with `old_names` the two halves of its feed-forward are called by
    each other's name."""
    width, inner, layers, image, patch = 1152, 4304, 27, 896, 14
    metadata: Metadata = {
        "general.architecture": "clip",
        "general.type": "mmproj",
        "general.name": name,
        "general.file_type": 1,
        "clip.projector_type": "gemma3",
        "clip.has_vision_encoder": True,
        "clip.use_gelu": True,
        "clip.vision.block_count": layers,
        "clip.vision.embedding_length": width,
        "clip.vision.feed_forward_length": inner,
        "clip.vision.image_size": image,
        "clip.vision.patch_size": patch,
        "clip.vision.attention.head_count": 16,
        "clip.vision.projection_dim": text_width,
        "clip.vision.image_mean": [0.5, 0.5, 0.5],
        "clip.vision.image_std": [0.5, 0.5, 0.5],
    }
    tensors: Tensors = {
        "mm.input_projection.weight": ((text_width, width), F16),
        "mm.soft_emb_norm.weight": ((width,), F32),
        "v.patch_embd.weight": ((patch, patch, 3, width), F16),
        "v.patch_embd.bias": ((width,), F32),
        "v.position_embd.weight": ((width, (image // patch) ** 2), F32),
        "v.post_ln.weight": ((width,), F32),
        "v.post_ln.bias": ((width,), F32),
    }
    widen, narrow = ("ffn_down", "ffn_up") if old_names else ("ffn_up", "ffn_down")
    for number in range(layers):
        block = f"v.blk.{number}"
        for part in ("attn_q", "attn_k", "attn_v", "attn_out"):
            tensors[f"{block}.{part}.weight"] = ((width, width), F16)
            tensors[f"{block}.{part}.bias"] = ((width,), F32)
        for part in ("ln1", "ln2"):
            tensors[f"{block}.{part}.weight"] = ((width,), F32)
            tensors[f"{block}.{part}.bias"] = ((width,), F32)
        tensors[f"{block}.{widen}.weight"] = ((width, inner), F16)
        tensors[f"{block}.{widen}.bias"] = ((inner,), F32)
        tensors[f"{block}.{narrow}.weight"] = ((inner, width), F16)
        tensors[f"{block}.{narrow}.bias"] = ((width,), F32)
    return metadata, tensors


def _string(text: str) -> bytes:
    encoded = text.encode()
    return struct.pack("<Q", len(encoded)) + encoded


def _value(value: Any) -> bytes:
    if isinstance(value, list):
        kind = _kind(value[0])
        items = b"".join(_plain(item) for item in value)
        return struct.pack("<IIQ", 9, kind, len(value)) + items
    return struct.pack("<I", _kind(value)) + _plain(value)


def _kind(value: Any) -> int:
    return {bool: 7, str: 8, int: 4, float: 6}[type(value)]


def _plain(value: Any) -> bytes:
    if isinstance(value, str):
        return _string(value)
    return struct.pack({bool: "<B", int: "<I", float: "<f"}[type(value)], value)
