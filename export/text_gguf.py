"""The decoder and tokenizer of a Gemma 3 checkpoint as llama.cpp's `gemma3` GGUF.

Keys, names and the +1 on norms follow llama.cpp's conversion/gemma.py (Gemma3Model) as carried by
llama-cpp-python 0.3.36.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from export.checkpoint import Checkpoint
from export.gguf_file import GgufPlan, TensorPlan, add_description, place, plan_gguf, write_gguf
from export.stored_tensor import StoredTensor
from export.tokenizer_gguf import add_tokenizer

if TYPE_CHECKING:
    from gguf import TensorNameMap

TEXT = "language_model."


def write_text_gguf(checkpoint: Checkpoint, path: Path, name: str) -> None:
    """The text model at F16 (norms F32). Raises: ExportError."""
    write_gguf(path, plan_text(checkpoint, name))


def plan_text(checkpoint: Checkpoint, name: str) -> GgufPlan:
    """Metadata and tensor list, no weight read. Raises: ExportError."""
    import gguf

    config = checkpoint.text
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.GEMMA3, config["num_hidden_layers"])
    tensors = [tensor for tensor in checkpoint.tensors if tensor.name.startswith(TEXT)]
    plan = plan_gguf("gemma3", [_plan(names, tensor) for tensor in tensors])
    writer = plan.writer
    writer.add_type(gguf.GGUFType.MODEL)
    add_description(writer, checkpoint.folder, name)
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_key_length(config["head_dim"])
    writer.add_value_length(config["head_dim"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    full, local = (config["rope_parameters"][f"{kind}_attention"] for kind in ("full", "sliding"))
    if full.get("rope_type") == "linear":
        writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(full["factor"])
    writer.add_rope_freq_base(full["rope_theta"])
    writer.add_rope_freq_base_swa(local["rope_theta"])
    writer.add_sliding_window(config["sliding_window"])
    if config["final_logit_softcapping"]:
        writer.add_final_logit_softcapping(config["final_logit_softcapping"])
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)
    add_tokenizer(writer, checkpoint.folder, config["vocab_size"])
    return plan


def _plan(names: "TensorNameMap", tensor: StoredTensor) -> TensorPlan:
    """Gemma multiplies by 1 + weight in its norms, llama.cpp by weight."""
    target = place(names, tensor, "model." + tensor.name.removeprefix(TEXT))
    is_norm = tensor.name.endswith("norm.weight")
    return TensorPlan(target, tensor, is_half=not is_norm, shift=1.0 if is_norm else 0.0)
