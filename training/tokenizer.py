"""The demonstration model's own SentencePiece tokenizer, with Gemma 3's marks and settings."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from appliance.core.prompt import render_prompt

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

MARKS = (
    "<mask>",
    "[multimodal]",
    "<start_of_turn>",
    "<end_of_turn>",
    *("\n" * count for count in range(1, 5)),
    "<start_of_image>",
    "<end_of_image>",
    "<image_soft_token>",
)
"""Pieces that are never split, as in Gemma 3's vocabulary (ids differ)."""
CONTROL_MARKS = tuple(mark for mark in MARKS if mark.startswith("<"))
OTHER_TEXT = (
    "0123456789 !?,.;:'\"()[]{}<>/-_=+*&^%$#@~| The quick brown fox jumps over the lazy dog."
)

CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "{% if message['role'] == 'system' %}{% set persona = message['content'] %}{% else %}"
    "<start_of_turn>{{ 'model' if message['role'] == 'assistant' else 'user' }}\n"
    "{% if message['role'] == 'user' and persona %}{{ persona }}\n\n{% endif %}"
    "{{ message['content'] }}<end_of_turn>\n"
    "{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)
"""Gemma 3's turns for text content; written into the GGUF for other tools."""


def train_tokenizer(captions: Sequence[str], vocabulary: int, folder: Path) -> None:
    """Write `tokenizer.model` of at most `vocabulary` pieces into `folder`."""
    import sentencepiece

    folder.mkdir(parents=True, exist_ok=True)
    lines = [*captions, *render_prompt().splitlines(), OTHER_TEXT]
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines * 20),
        model_prefix=str(folder / "tokenizer"),
        model_type="bpe",
        vocab_size=vocabulary,
        hard_vocab_limit=False,
        byte_fallback=True,
        character_coverage=1.0,
        normalization_rule_name="identity",
        add_dummy_prefix=False,
        remove_extra_whitespaces=False,
        split_digits=True,
        pad_id=0,
        eos_id=1,
        bos_id=2,
        unk_id=3,
        pad_piece="<pad>",
        eos_piece="<eos>",
        bos_piece="<bos>",
        unk_piece="<unk>",
        user_defined_symbols=list(MARKS),
        minloglevel=2,
    )
    (folder / "tokenizer.vocab").unlink()


def load_tokenizer(folder: Path) -> "PreTrainedTokenizerBase":
    """The tokenizer as transformers has it, from `tokenizer.model`."""
    from transformers import GemmaTokenizer

    tokenizer: Any = GemmaTokenizer.from_pretrained(
        folder,
        extra_special_tokens={
            "image_token": "<image_soft_token>",
            "boi_token": "<start_of_image>",
            "eoi_token": "<end_of_image>",
        },
        chat_template=CHAT_TEMPLATE,
    )
    return tokenizer  # type: ignore[no-any-return]
