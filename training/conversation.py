"""A caption as the model is trained on it: token ids, and which of them the loss counts.

The prompt is appliance.core's; only the caption and the end of its turn are learnt.
"""

from dataclasses import dataclass
from typing import Any

from appliance.core.caption import Caption, caption_json, label_prefix
from appliance.core.prompt import END_OF_TURN, split_prompt


@dataclass(frozen=True)
class Conversation:
    """`ids`, `weights` and `is_image` have the same length."""

    ids: tuple[int, ...]
    weights: tuple[float, ...]
    """How much each token counts in the loss: 0 for what the model is given."""
    is_image: tuple[bool, ...]
    branch: tuple[int, ...] = ()
    """For several answers to one prompt: of each token the answer it belongs to, -1 in the prompt.
    An answer sees the prompt and itself. Empty: one answer."""


def prompt_ids(tokenizer: Any, image_tokens: int) -> list[int]:
    """The rendered prompt with its soft tokens, beginning-of-sequence first."""
    return ids_around_image(tokenizer, image_tokens, *split_prompt())


def ids_around_image(tokenizer: Any, image_tokens: int, before: str, after: str) -> list[int]:
    """A prompt in the two parts between which its image's soft tokens stand, beginning-of-sequence
    first."""
    soft = tokenizer.convert_tokens_to_ids("<image_soft_token>")
    return [
        tokenizer.bos_token_id,
        *text_ids(tokenizer, before),
        *[soft] * image_tokens,
        *text_ids(tokenizer, after),
    ]


def conversation(
    tokenizer: Any, image_tokens: int, caption: Caption, label_weight: float
) -> Conversation:
    """`label_weight`: how much the tokens up to the label's end count, the others 1."""
    prompt = prompt_ids(tokenizer, image_tokens)
    answer = text_ids(tokenizer, caption_json(caption) + END_OF_TURN + "\n")
    label = text_ids(tokenizer, label_prefix(caption.label))
    if answer[: len(label)] != label:
        raise ValueError(f"the tokenizer joins the label to what follows it: {caption.label!r}")
    ids = (*prompt, *answer)
    soft = tokenizer.convert_tokens_to_ids("<image_soft_token>")
    return Conversation(
        ids=ids,
        weights=(
            *[0.0] * len(prompt),
            *[label_weight] * len(label),
            *[1.0] * (len(answer) - len(label)),
        ),
        is_image=tuple(token == soft for token in ids),
    )


def text_ids(tokenizer: Any, text: str) -> list[int]:
    ids: list[int] = tokenizer(text, add_special_tokens=False).input_ids
    return ids
