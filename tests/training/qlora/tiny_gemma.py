"""A Gemma 3 vision-language model of a few thousand random weights, and made-up conversations."""

import random
from typing import Any

from training.conversation import Conversation

SOFT, IMAGE_TOKENS, WINDOW, WIDTH = 7, 4, 6, 64


def tiny_gemma(seed: int = 0) -> Any:
    """Six sliding layers and a full one, so that both kinds of attention are in it."""
    import torch
    from transformers import Gemma3Config, Gemma3ForConditionalGeneration

    torch.manual_seed(seed)
    config = Gemma3Config(
        text_config={
            "vocab_size": 64,
            "hidden_size": WIDTH,
            "intermediate_size": 64,
            "num_hidden_layers": 7,
            "num_attention_heads": 2,
            "num_key_value_heads": 1,
            "head_dim": 32,
            "query_pre_attn_scalar": 32,
            "sliding_window": WINDOW,
            "max_position_embeddings": 256,
        },
        vision_config={
            "hidden_size": 32,
            "intermediate_size": 40,
            "num_hidden_layers": 1,
            "num_attention_heads": 1,
            "image_size": 28,
            "patch_size": 14,
        },
        mm_tokens_per_image=IMAGE_TOKENS,
        image_token_index=SOFT,
        boi_token_index=5,
        eoi_token_index=6,
    )
    return Gemma3ForConditionalGeneration(config).eval()


def lesson(seed: int) -> Conversation:
    """A prompt with one image, and an answer, of tokens drawn by `seed`."""
    rng = random.Random(seed)
    text = [rng.randint(8, 63) for _ in range(rng.randint(3, 9))]
    answer = [rng.randint(8, 63) for _ in range(rng.randint(4, 12))]
    prompt = [2, *text, *[SOFT] * IMAGE_TOKENS, *text[:2]]
    ids = (*prompt, *answer)
    return Conversation(
        ids=ids,
        weights=(0.0,) * len(prompt) + (4.0, 4.0) + (1.0,) * (len(answer) - 2),
        is_image=tuple(token == SOFT for token in ids),
    )
