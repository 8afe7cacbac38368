"""The vision tower and projector of a Gemma 3 checkpoint as llama.cpp's `clip` GGUF (mmproj).

Keys, names and forced types follow llama.cpp's conversion/gemma.py (Gemma3VisionModel) as carried
by llama-cpp-python 0.3.36.
"""

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from export.checkpoint import Checkpoint
from export.errors import ExportError
from export.gguf_file import GgufPlan, TensorPlan, add_description, place, plan_gguf, write_gguf
from export.stored_tensor import StoredTensor

if TYPE_CHECKING:
    from gguf import TensorNameMap

VISION = ("vision_tower.", "multi_modal_projector.")
DEFAULT_SCALE = 4
"""What clip.cpp pools by when the key is absent."""
SIGLIP_MEAN = SIGLIP_STD = [0.5, 0.5, 0.5]


def write_vision_gguf(checkpoint: Checkpoint, path: Path, name: str) -> None:
    """The projector file at F16 (embeddings, norms and biases F32). Raises: ExportError."""
    write_gguf(path, plan_vision(checkpoint, name))


def plan_vision(checkpoint: Checkpoint, name: str) -> GgufPlan:
    """Metadata and tensor list, no weight read. Raises: ExportError."""
    import gguf

    config = checkpoint.vision
    images = _image_processor(checkpoint)
    layers = config["num_hidden_layers"]
    patches = config["image_size"] // config["patch_size"]
    scale = patches // math.isqrt(checkpoint.image_tokens)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.MMPROJ, layers)
    tensors = [tensor for tensor in checkpoint.tensors if tensor.name.startswith(VISION)]
    plan = plan_gguf("clip", [_plan(names, tensor) for tensor in tensors])
    writer = plan.writer
    writer.add_type(gguf.GGUFType.MMPROJ)
    add_description(writer, checkpoint.folder, name)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)
    writer.add_clip_has_vision_encoder(True)
    writer.add_vision_projection_dim(checkpoint.text["hidden_size"])
    writer.add_vision_image_size(config["image_size"])
    writer.add_vision_patch_size(config["patch_size"])
    writer.add_vision_embedding_length(config["hidden_size"])
    writer.add_vision_feed_forward_length(config["intermediate_size"])
    writer.add_vision_block_count(layers)
    writer.add_vision_head_count(config["num_attention_heads"])
    writer.add_vision_image_mean(images.get("image_mean", SIGLIP_MEAN))
    writer.add_vision_image_std(images.get("image_std", SIGLIP_STD))
    writer.add_clip_projector_type(gguf.VisionProjectorType.GEMMA3)
    writer.add_vision_attention_layernorm_eps(config["layer_norm_eps"])
    writer.add_vision_use_gelu(True)
    if scale != DEFAULT_SCALE:
        writer.add_vision_projector_scale_factor(scale)
    return plan


def _image_processor(checkpoint: Checkpoint) -> dict[str, Any]:
    """What preprocessor_config.json, or processor_config.json over it, says of the pictures."""
    said: dict[str, Any] = {}
    for file in ("preprocessor_config.json", "processor_config.json"):
        path = checkpoint.folder / file
        try:
            read = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
            said |= {**read, **read.get("image_processor", {})}
        except (OSError, ValueError, TypeError, AttributeError) as exc:
            raise ExportError(f"{path}: cannot be read ({exc}); copy it again") from exc
    tokens = said.get("image_seq_length", checkpoint.image_tokens)
    if tokens != checkpoint.image_tokens:
        raise ExportError(
            f"{checkpoint.folder}: image_seq_length {tokens} of the processor is not "
            f"mm_tokens_per_image {checkpoint.image_tokens} of config.json; copy both"
        )
    return said


def _plan(names: "TensorNameMap", tensor: StoredTensor) -> TensorPlan:
    target = place(names, tensor, tensor.name.replace("_weight", ".weight"))
    if "soft_emb_norm" in tensor.name:
        return TensorPlan(target, tensor, is_half=False, shift=1.0)
    is_half = len(tensor.shape) > 1 and ".embeddings." not in tensor.name
    return TensorPlan(target, tensor, is_half)
