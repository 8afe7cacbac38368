"""A random Gemma 3 that a test can afford, in a folder, with the tokenizer of the captions."""

from pathlib import Path
from typing import Any


def write_tiny_base(tokenizer: Any, folder: Path) -> Path:
    """Sees 32 pixels in 4 soft tokens; 32 wide, 2 layers deep."""
    import torch
    from transformers import Gemma3Config, Gemma3ForConditionalGeneration

    torch.manual_seed(0)
    soft, begin, end = tokenizer.convert_tokens_to_ids(
        ["<image_soft_token>", "<start_of_image>", "<end_of_image>"]
    )
    config = Gemma3Config(
        text_config={
            "vocab_size": len(tokenizer),
            "hidden_size": 32,
            "intermediate_size": 48,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "num_key_value_heads": 1,
            "head_dim": 16,
            "query_pre_attn_scalar": 16,
            "sliding_window": 512,
            "max_position_embeddings": 1024,
            "initializer_range": 0.3,  # with less, a frozen head of this width says nothing surely
        },
        vision_config={
            "hidden_size": 16,
            "intermediate_size": 24,
            "num_hidden_layers": 1,
            "num_attention_heads": 1,
            "image_size": 32,
            "patch_size": 16,
        },
        mm_tokens_per_image=4,
        image_token_index=soft,
        boi_token_index=begin,
        eoi_token_index=end,
    )
    model = Gemma3ForConditionalGeneration(config)
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    model.generation_config.eos_token_id = [1, tokenizer.convert_tokens_to_ids("<end_of_turn>")]
    model.save_pretrained(folder)
    source = Path(tokenizer.name_or_path) / "tokenizer.model"
    (folder / "tokenizer.model").write_bytes(source.read_bytes())
    return folder
