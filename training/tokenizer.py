"""The demonstration model's own SentencePiece tokenizer, with Gemma 3's marks and settings."""

import io
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
    "{%- macro said(content) -%}"
    "{%- if content is string -%}{{ content }}{%- else -%}{%- for part in content -%}"
    "{%- if part['type'] == 'text' -%}{{ part['text'] }}"
    "{%- else -%}<start_of_image>{%- endif -%}"
    "{%- endfor -%}{%- endif -%}{%- endmacro -%}"
    "{{ bos_token }}{%- set said_first = namespace(text='') -%}"
    "{%- for message in messages -%}"
    "{%- if message['role'] == 'system' -%}"
    "{%- set said_first.text = said(message['content']) + '\n\n' -%}"
    "{%- else -%}"
    "{{ '<start_of_turn>' }}{{ 'model' if message['role'] == 'assistant' else 'user' }}{{ '\n' }}"
    "{%- if message['role'] == 'user' -%}{{ said_first.text }}"
    "{%- set said_first.text = '' -%}{%- endif -%}"
    "{{ said(message['content']) }}{{ '<end_of_turn>\n' }}"
    "{%- endif -%}{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{ '<start_of_turn>model\n' }}{%- endif -%}"
)
"""Gemma 3's turns, for content that is text or a list of parts; written into the GGUF for other
tools. A persona opens the first user turn."""


def train_tokenizer(captions: Sequence[str], vocabulary: int, folder: Path) -> None:
    """Write `tokenizer.model` of at most `vocabulary` pieces into `folder`."""
    import sentencepiece

    folder.mkdir(parents=True, exist_ok=True)
    lines = [*captions, *render_prompt().splitlines(), OTHER_TEXT]
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines * 20),
        model_writer=model,  # given a file's name, SentencePiece writes it into the model
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
    (folder / "tokenizer.model").write_bytes(model.getvalue())


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
