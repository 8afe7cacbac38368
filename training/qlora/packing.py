"""Several conversations in one row, with the attention each would have had alone.

A token attends to earlier tokens of its own conversation, and to every token of its own image; a
sliding layer also only within the window. Positions start anew in each conversation. Where a
conversation has several answers to its prompt, none of them sees another. This is what
transformers builds for one conversation a row (`create_masks_for_vision_model`), so the logits are
the same; the padding is gone.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from training.conversation import Conversation

if TYPE_CHECKING:
    import torch


LOGITS_AT_ONCE = 2**25
"""0.4 GB, with their softmax and its gradient."""


@dataclass(frozen=True)
class Pack:
    """One row of conversations; `input_ids` and `position_ids` are (1, length)."""

    input_ids: "torch.Tensor"
    position_ids: "torch.Tensor"
    masks: dict[str, "torch.Tensor"]
    """`full_attention` and `sliding_attention`, (1, 1, length, length), True where it attends."""
    predicts: "torch.Tensor"
    """Places whose next token is learnt, (learnt tokens,)."""
    targets: "torch.Tensor"
    """Those next tokens."""
    weights: "torch.Tensor"
    """How much each of them counts."""
    owner: "torch.Tensor"
    """Which conversation of the pack each of them belongs to."""


def plan_packs(lengths: Sequence[int], most_tokens: int) -> list[list[int]]:
    """Indices of conversations, so grouped that no group is longer than `most_tokens`.

    First fit, longest first; a conversation longer than that gets a row of its own.
    """
    packs: list[list[int]] = []
    room: list[int] = []
    for index in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        place = next((p for p, left in enumerate(room) if left >= lengths[index]), None)
        if place is None:
            packs.append([])
            room.append(most_tokens)
            place = len(packs) - 1
        packs[place].append(index)
        room[place] -= lengths[index]
    return [sorted(pack) for pack in packs]


def pack(lessons: Sequence[Conversation], sliding_window: int, device: Any = "cpu") -> Pack:
    """One row of these conversations, in order."""
    import torch

    lengths = [len(lesson.ids) for lesson in lessons]
    owner = np.repeat(np.arange(len(lessons)), lengths)
    branches = [np.array(lesson.branch or (-1,) * len(lesson.ids)) for lesson in lessons]
    branch = np.concatenate(branches)
    position = np.concatenate([_positions(each) for each in branches])
    weights = np.concatenate([np.array(lesson.weights, np.float32) for lesson in lessons])
    ids = np.concatenate([np.array(lesson.ids) for lesson in lessons])
    image = np.concatenate([_image_spans(lesson) for lesson in lessons])

    same = owner[:, None] == owner[None, :]
    same &= (branch[None, :] < 0) | (branch[:, None] == branch[None, :])
    causal = position[:, None] >= position[None, :]
    same_image = (image[:, None] == image[None, :]) & (image[:, None] >= 0)
    full = same & (causal | same_image)
    near = position[:, None] - position[None, :] < sliding_window
    learnt = np.flatnonzero(weights)  # never a conversation's first token
    start = np.cumsum([0, *lengths[:-1]])[owner]
    predicts = np.where(
        branch[learnt] == branch[learnt - 1], learnt - 1, (start + position - 1)[learnt]
    )

    def tensor(array: Any) -> "torch.Tensor":
        return torch.from_numpy(np.ascontiguousarray(array)).to(device)

    return Pack(
        input_ids=tensor(ids[None]),
        position_ids=tensor(position[None]),
        masks={
            "full_attention": tensor(full[None, None]),
            "sliding_attention": tensor((full & near)[None, None]),
        },
        predicts=tensor(predicts),
        targets=tensor(ids[learnt]),
        weights=tensor(weights[learnt]),
        owner=tensor(owner[learnt]),
    )


def _positions(branch: "np.ndarray[Any, np.dtype[np.int64]]") -> Any:
    """Of a conversation's tokens: each answer's begin where the prompt's end."""
    position = np.arange(len(branch))
    for answer in np.unique(branch[branch >= 0]):
        tokens = np.flatnonzero(branch == answer)
        position[tokens] -= tokens[0] - np.count_nonzero(branch < 0)
    return position


def _image_spans(lesson: Conversation) -> "np.ndarray[Any, np.dtype[np.int64]]":
    """The number of the image each token belongs to, -1 for text."""
    is_image = np.array(lesson.is_image)
    starts = is_image & ~np.concatenate([[False], is_image[:-1]])
    return np.where(is_image, np.cumsum(starts) - 1, -1)


def pack_loss(
    model: Any,
    packed: Pack,
    features: "torch.Tensor",
    logits_at_once: int = LOGITS_AT_ONCE,
) -> "torch.Tensor":
    """Weighted sum of the learnt tokens' cross-entropy over each of the pack's conversations.

    `features`: the projected images, (images, image tokens, text width), in the pack's order.
    Logits are made only where a token is learnt, and only so many at once: with a vocabulary of
    262,208 they would else be most of the memory of a step.
    """
    import torch
    from transformers.modeling_outputs import BaseModelOutputWithPooling

    gemma = model.get_base_model() if hasattr(model, "get_base_model") else model
    masks = packed.masks
    if gemma.config.text_config._attn_implementation == "eager":  # which adds its mask
        lowest = torch.finfo(features.dtype).min
        masks = {kind: (~mask).to(features.dtype) * lowest for kind, mask in masks.items()}
    hidden = gemma.model(
        input_ids=packed.input_ids,
        attention_mask=masks,
        position_ids=packed.position_ids,
        mm_encoder_outputs={"image": BaseModelOutputWithPooling(pooler_output=features)},
        use_cache=False,
    ).last_hidden_state[0, packed.predicts]
    tokens_at_once = max(1, logits_at_once // gemma.config.text_config.vocab_size)
    loss = _token_loss(gemma.lm_head, hidden, packed.targets, tokens_at_once) * packed.weights
    conversations = int(packed.owner.max()) + 1
    return torch.zeros(conversations, device=loss.device).index_add(0, packed.owner, loss)


def _token_loss(
    head: Any, hidden: "torch.Tensor", targets: "torch.Tensor", tokens_at_once: int
) -> "torch.Tensor":
    """Each token's cross-entropy; logits of more than `tokens_at_once` are made twice, not held."""
    import torch
    import torch.nn.functional as F
    from torch.utils.checkpoint import checkpoint

    def loss(hidden: "torch.Tensor", targets: "torch.Tensor") -> "torch.Tensor":
        return F.cross_entropy(head(hidden).float(), targets, reduction="none")

    if len(targets) <= tokens_at_once:
        return loss(hidden, targets)
    parts = zip(hidden.split(tokens_at_once), targets.split(tokens_at_once), strict=True)
    return torch.cat([checkpoint(loss, *part, use_reentrant=False) for part in parts])
