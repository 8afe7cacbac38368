"""The decoder and tokenizer of a Gemma 3 checkpoint as llama.cpp's `gemma3` GGUF.

Keys, names and the +1 on norms follow llama.cpp's conversion/gemma.py (Gemma3Model) as carried by
llama-cpp-python 0.3.36.
"""

import json
from pathlib import Path

import numpy as np

from export.checkpoint import Checkpoint, ExportError, StoredTensor
from export.gguf_file import TensorPlan, write_gguf
from training.tokenizer import CONTROL_MARKS

TEXT = "language_model."


def write_text_gguf(checkpoint: Checkpoint, path: Path, name: str) -> None:
    """The text model at F16 (norms F32). Raises: ExportError."""
    import gguf

    config = checkpoint.text
    layers = config["num_hidden_layers"]
    writer = gguf.GGUFWriter(None, "gemma3")
    writer.add_name(name)
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(layers)
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_key_length(config["head_dim"])
    writer.add_value_length(config["head_dim"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_freq_base(config["rope_parameters"]["full_attention"]["rope_theta"])
    writer.add_sliding_window(config["sliding_window"])
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)
    _add_tokenizer(writer, checkpoint)

    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.GEMMA3, layers)
    plans = []
    for tensor in checkpoint.tensors:
        if not tensor.name.startswith(TEXT):
            continue
        source = "model." + tensor.name.removeprefix(TEXT)
        target = names.get_name(source, try_suffixes=(".weight",))
        if target is None:
            raise ExportError(f"{tensor.file}: no place in GGUF for the tensor {tensor.key}")
        plans.append(_plan(tensor, target))
    write_gguf(path, writer, plans)


def _plan(tensor: StoredTensor, target: str) -> TensorPlan:
    if tensor.name.endswith("norm.weight"):
        return TensorPlan(target, tensor.shape, np.float32, lambda: tensor.read() + 1)
    return TensorPlan(target, tensor.shape, np.float16, tensor.read)


def _add_tokenizer(writer, checkpoint: Checkpoint) -> None:  # type: ignore[no-untyped-def]
    import gguf
    from sentencepiece import SentencePieceProcessor

    pieces = SentencePieceProcessor(model_file=str(checkpoint.folder / "tokenizer.model"))
    size = checkpoint.text["vocab_size"]
    kind = gguf.TokenType
    tokens = [f"[PAD{i}]".encode() for i in range(size)]
    scores = [-10000.0] * size
    types = [int(kind.UNUSED)] * size
    for i in range(pieces.get_piece_size()):
        tokens[i] = pieces.id_to_piece(i).encode()
        scores[i] = pieces.get_score(i)
        types[i] = int(
            kind.UNKNOWN
            if pieces.is_unknown(i)
            else kind.CONTROL
            if pieces.is_control(i)
            else kind.BYTE
            if pieces.is_byte(i)
            else kind.NORMAL
        )
    # transformers 5 no longer writes `added_tokens_decoder`: without the list in tokenizer.json,
    # <start_of_turn> would silently be split into characters.
    described = json.loads((checkpoint.folder / "tokenizer.json").read_text(encoding="utf-8"))
    for added in described["added_tokens"]:
        is_control = added["special"] or added["content"] in CONTROL_MARKS
        tokens[added["id"]] = added["content"].encode()
        scores[added["id"]] = -1000.0
        types[added["id"]] = int(kind.CONTROL if is_control else kind.USER_DEFINED)
    writer.add_tokenizer_model("llama")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(tokens)
    writer.add_token_scores(scores)
    writer.add_token_types(types)
    writer.add_bos_token_id(pieces.bos_id())
    writer.add_eos_token_id(pieces.eos_id())
    writer.add_unk_token_id(pieces.unk_id())
    writer.add_pad_token_id(pieces.pad_id())
    writer.add_add_bos_token(True)
    writer.add_add_space_prefix(False)
    template = checkpoint.folder / "chat_template.jinja"
    if template.is_file():
        writer.add_chat_template(template.read_text(encoding="utf-8"))
