"""What config.json says of a Gemma 3 vision-language model, and what llama.cpp can run of it.

Refuses every setting that llama.cpp's `gemma3` graph or `clip` encoder would take otherwise than
transformers does: src/models/gemma3.cpp, tools/mtmd/clip.cpp of llama-cpp-python 0.3.36.
"""

import json
import math
from pathlib import Path
from typing import Any

from export.errors import ExportError

ARCHITECTURE = "Gemma3ForConditionalGeneration"
FULL_EVERY = 6
"""gemma3.cpp: load_swa_pattern(ml, 6)."""
LAYERS_OF_27B = 62
"""gemma3.cpp: a model of so many layers is scaled by hidden size over heads, not by head_dim."""
GELU = "gelu_pytorch_tanh"

Settings = dict[str, Any]
Shapes = dict[str, tuple[int, ...]]


def read_config(folder: Path) -> tuple[Settings, Settings, int]:
    """text_config, vision_config and tokens an image, with the defaults that transformers adds.

    Raises: ExportError, ValueError, OSError.
    """
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    if not isinstance(config, dict) or config.get("architectures") != [ARCHITECTURE]:
        found = config.get("architectures") if isinstance(config, dict) else None
        raise ExportError(f"{folder}: architecture {found}, expected {ARCHITECTURE}")
    for part, kind in (("text_config", "gemma3_text"), ("vision_config", "siglip_vision_model")):
        if not isinstance(config.get(part), dict):
            raise ExportError(f"{folder}: config.json has no {part}; copy it again")
        if config[part].get("model_type", kind) != kind:
            raise ExportError(
                f"{folder}: {part} is of the kind {config[part]['model_type']}, expected {kind}"
            )
    if "quantization_config" in config:
        raise ExportError(f"{folder}: quantized weights; give the model at full precision")
    text, vision, tokens = _with_defaults(folder, config)
    _refuse_text(folder, text)
    _refuse_vision(folder, vision, tokens)
    return text, vision, tokens


def _with_defaults(folder: Path, config: Settings) -> tuple[Settings, Settings, int]:
    """Published files leave out what is Gemma 3's default; both spellings of rotary settings."""
    from huggingface_hub.errors import StrictDataclassError
    from transformers import Gemma3Config

    try:
        described = Gemma3Config.from_dict(config)
    except (StrictDataclassError, TypeError, AttributeError) as exc:
        raise ExportError(f"{folder}: config.json is not Gemma 3's ({exc})") from exc
    whole: Settings = described.to_dict()
    return whole["text_config"], whole["vision_config"], int(whole["mm_tokens_per_image"])


def _refuse_text(folder: Path, text: Settings) -> None:
    layers, scale = text["num_hidden_layers"], text["query_pre_attn_scalar"]
    if layers == LAYERS_OF_27B:
        of, expected = (
            "hidden_size / num_attention_heads",
            text["hidden_size"] // (text["num_attention_heads"]),
        )
    else:
        of, expected = "head_dim", text["head_dim"]
    if scale != expected:
        raise ExportError(
            f"{folder}: query_pre_attn_scalar {scale} is not {of} {expected}, which llama.cpp "
            f"takes for a model of {layers} layers; GGUF cannot carry it"
        )
    full = text["rope_parameters"]["full_attention"]
    kind, factor = full.get("rope_type", "default"), full.get("factor")
    scaled = kind == "linear" and isinstance(factor, int | float) and factor > 0
    local = text["rope_parameters"]["sliding_attention"].get("rope_type", "default")
    if not (kind == "default" or scaled) or local != "default":
        raise ExportError(
            f"{folder}: rotary positions {text['rope_parameters']}: llama.cpp scales those of "
            "full attention linearly and of sliding attention not at all"
        )
    kinds = [
        "full_attention" if (layer + 1) % FULL_EVERY == 0 else "sliding_attention"
        for layer in range(layers)
    ]
    if text["layer_types"] != kinds:
        raise ExportError(f"{folder}: llama.cpp takes every sixth layer as full, not layer_types")
    for setting, wanted in (
        ("hidden_activation", GELU),
        ("use_bidirectional_attention", False),
        ("attention_bias", False),
        ("attn_logit_softcapping", None),
    ):
        if (text[setting] or None) != (wanted or None):
            raise ExportError(f"{folder}: {setting} {text[setting]}, llama.cpp has {wanted}")
    if not isinstance(text["sliding_window"], int) or text["sliding_window"] < 1:
        raise ExportError(f"{folder}: sliding_window {text['sliding_window']} is no length")


def _refuse_vision(folder: Path, vision: Settings, image_tokens: int) -> None:
    image, patch = vision["image_size"], vision["patch_size"]
    if not isinstance(image, int) or not isinstance(patch, int):
        raise ExportError(f"{folder}: images of {image} in patches of {patch} are not square")
    if vision["intermediate_size"] == vision["hidden_size"]:
        raise ExportError(f"{folder}: the tower's feed-forward is as wide as the tower")
    for setting, wanted in (("hidden_act", GELU), ("num_channels", 3)):
        if vision[setting] != wanted:
            raise ExportError(f"{folder}: {setting} {vision[setting]}, llama.cpp has {wanted}")
    patches, side = image // patch, math.isqrt(image_tokens)
    if side < 1 or side * side != image_tokens or image % patch or patches % side:
        raise ExportError(
            f"{folder}: {patches} by {patches} patches do not pool to {image_tokens} tokens"
        )


def expected_tensors(text: Settings, vision: Settings) -> Shapes:
    """Canonical name and shape of every tensor that the settings ask for."""
    return {
        **_decoder(text),
        **_tower(vision),
        "multi_modal_projector.mm_input_projection_weight": (
            vision["hidden_size"],
            text["hidden_size"],
        ),
        "multi_modal_projector.mm_soft_emb_norm.weight": (vision["hidden_size"],),
    }


def _decoder(text: Settings) -> Shapes:
    wide, head = text["hidden_size"], text["head_dim"]
    queries, keys = text["num_attention_heads"] * head, text["num_key_value_heads"] * head
    inner = text["intermediate_size"]
    layer = {
        "input_layernorm": (wide,),
        "post_attention_layernorm": (wide,),
        "pre_feedforward_layernorm": (wide,),
        "post_feedforward_layernorm": (wide,),
        "self_attn.q_norm": (head,),
        "self_attn.k_norm": (head,),
        "self_attn.q_proj": (queries, wide),
        "self_attn.k_proj": (keys, wide),
        "self_attn.v_proj": (keys, wide),
        "self_attn.o_proj": (wide, queries),
        "mlp.gate_proj": (inner, wide),
        "mlp.up_proj": (inner, wide),
        "mlp.down_proj": (wide, inner),
    }
    return {
        "language_model.embed_tokens.weight": (text["vocab_size"], wide),
        "language_model.norm.weight": (wide,),
        **{
            f"language_model.layers.{number}.{name}.weight": shape
            for number in range(text["num_hidden_layers"])
            for name, shape in layer.items()
        },
    }


def _tower(vision: Settings) -> Shapes:
    wide, inner, patch = vision["hidden_size"], vision["intermediate_size"], vision["patch_size"]
    patches = (vision["image_size"] // patch) ** 2
    with_bias = {
        "layer_norm1": (wide,),
        "layer_norm2": (wide,),
        **{f"self_attn.{name}_proj": (wide, wide) for name in ("q", "k", "v", "out")},
        "mlp.fc1": (inner, wide),
        "mlp.fc2": (wide, inner),
    }
    tower = {
        "embeddings.patch_embedding.weight": (wide, 3, patch, patch),
        "embeddings.patch_embedding.bias": (wide,),
        "embeddings.position_embedding.weight": (patches, wide),
        "post_layernorm.weight": (wide,),
        "post_layernorm.bias": (wide,),
    }
    for number in range(vision["num_hidden_layers"]):
        for name, shape in with_bias.items():
            tower[f"encoder.layers.{number}.{name}.weight"] = shape
            tower[f"encoder.layers.{number}.{name}.bias"] = shape[:1]
    return {f"vision_tower.vision_model.{name}": shape for name, shape in tower.items()}
