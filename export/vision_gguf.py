"""The vision tower and projector of a Gemma 3 checkpoint as llama.cpp's `clip` GGUF (mmproj).

Keys, names and forced types follow llama.cpp's conversion/gemma.py (Gemma3VisionModel) as carried
by llama-cpp-python 0.3.36.
"""

import math
from pathlib import Path

import numpy as np

from export.checkpoint import Checkpoint, ExportError, StoredTensor
from export.gguf_file import TensorPlan, write_gguf

DEFAULT_SCALE = 4
"""What clip.cpp pools by when the key is absent."""
SIGLIP_MEAN = SIGLIP_STD = [0.5, 0.5, 0.5]


def write_vision_gguf(checkpoint: Checkpoint, path: Path, name: str) -> None:
    """The projector file at F16 (embeddings, norms and biases F32). Raises: ExportError."""
    import gguf

    config = checkpoint.vision
    layers = config["num_hidden_layers"]
    patches = config["image_size"] // config["patch_size"]
    scale = patches // math.isqrt(checkpoint.image_tokens)
    writer = gguf.GGUFWriter(None, "clip")
    writer.add_type("mmproj")
    writer.add_name(name)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)
    writer.add_clip_has_vision_encoder(True)
    writer.add_vision_projection_dim(checkpoint.text["hidden_size"])
    writer.add_vision_image_size(config["image_size"])
    writer.add_vision_patch_size(config["patch_size"])
    writer.add_vision_embedding_length(config["hidden_size"])
    writer.add_vision_feed_forward_length(config["intermediate_size"])
    writer.add_vision_block_count(layers)
    writer.add_vision_head_count(config["num_attention_heads"])
    writer.add_vision_image_mean(SIGLIP_MEAN)
    writer.add_vision_image_std(SIGLIP_STD)
    writer.add_clip_projector_type(gguf.VisionProjectorType.GEMMA3)
    writer.add_vision_attention_layernorm_eps(config["layer_norm_eps"])
    writer.add_vision_use_gelu(True)
    if scale != DEFAULT_SCALE:
        writer.add_vision_projector_scale_factor(scale)

    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.MMPROJ, layers)
    plans = []
    for tensor in checkpoint.tensors:
        is_vision = tensor.name.startswith(("vision_tower.", "multi_modal_projector."))
        if not is_vision or ".head." in tensor.name:
            continue
        source = tensor.name.replace("_weight", ".weight")
        target = names.get_name(source, try_suffixes=(".weight", ".bias"))
        if target is None:
            raise ExportError(f"{tensor.file}: no place in GGUF for the tensor {tensor.key}")
        plans.append(_plan(tensor, target))
    write_gguf(path, writer, plans)


def _plan(tensor: StoredTensor, target: str) -> TensorPlan:
    if "soft_emb_norm" in tensor.name:
        return TensorPlan(target, tensor.shape, np.float32, lambda: tensor.read() + 1)
    half = len(tensor.shape) > 1 and ".embeddings." not in tensor.name
    return TensorPlan(target, tensor.shape, np.float16 if half else np.float32, tensor.read)
