"""A base model with a trained adapter: what it was made of, what turns text and pictures into its
input, and what it writes on."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from training.pixels import plain
from training.whole_file import write_whole

if TYPE_CHECKING:
    import torch

MADE_OF = "training.json"
"""Beside an adapter's weights: its recipe, and what else it was made of."""


@dataclass(frozen=True)
class Adapted:
    """A model with its adapter, and its tokenizer."""

    model: Any
    tokenizer: Any
    made_of: Mapping[str, Any]
    """What stands beside the adapter."""

    @property
    def side(self) -> int:
        """Of the pictures it sees, in pixels."""
        return int(self.model.config.vision_config.image_size)


def load_adapted(adapter: Path, *, learns: bool = False) -> Adapted:
    """The adapter in a folder that a training run wrote, on the base it was trained on.

    `learns`: it is to be trained further.

    Raises: BaseModelError, also when the base is not the one it was trained on; OSError for what
    is no such folder.
    """
    from peft import PeftModel

    from training.qlora.base import require_base
    from training.qlora.recipe import Quantization
    from training.qlora.train import load_base
    from training.tokenizer import load_tokenizer

    made_of = read_made_of(adapter)
    recipe = made_of["recipe"]
    folder = require_base(recipe["base"])
    require_trained_on(folder, adapter)
    base = load_base(recipe["base"], Quantization(**recipe["quantization"]))
    model = PeftModel.from_pretrained(base, str(adapter), is_trainable=learns)
    return Adapted(model.train(learns), load_tokenizer(folder), made_of)


def require_trained_on(base: Path, adapter: Path) -> None:
    """Raises: BaseModelError unless the adapter was trained on the weights in the folder `base`."""
    from training.checkpoint import weights_hash
    from training.qlora.base import BaseModelError

    made_of = read_made_of(adapter) if (adapter / MADE_OF).is_file() else {}
    base_sha256 = weights_hash(base)
    if made_of.get("base_sha256") is None:
        raise BaseModelError(
            f"{adapter}: no {MADE_OF} says which base it was trained on; if you are sure that it "
            f'was {base}, put "base_sha256": "{base_sha256}" into it'
        )
    if made_of["base_sha256"] != base_sha256:
        raise BaseModelError(
            f"{adapter} was not trained on the weights that {base} holds now; bring those back, or "
            "train it again"
        )


def read_made_of(adapter: Path) -> dict[str, Any]:
    """What the adapter in a folder was made of. Raises: OSError."""
    made_of: dict[str, Any] = json.loads((adapter / MADE_OF).read_text(encoding="utf-8"))
    return made_of


def write_made_of(adapter: Path, made_of: Mapping[str, Any]) -> None:
    """Raises: OSError."""
    write_whole(adapter / MADE_OF, json.dumps(made_of, indent=1) + "\n")


def chat_processor(adapted: Adapted) -> Any:
    """Messages and pictures to the model's input, token for token what was taught."""
    from transformers import Gemma3ImageProcessorPil, Gemma3Processor

    config, tokenizer = adapted.model.config, adapted.tokenizer
    size = config.vision_config.image_size
    tokenizer.padding_side = "left"
    tokenizer.truncation_side = "left"
    return Gemma3Processor(
        Gemma3ImageProcessorPil(size={"height": size, "width": size}, do_pan_and_scan=False),
        tokenizer,
        chat_template=tokenizer.chat_template,
        image_seq_length=config.mm_tokens_per_image,
    )


def pixel_values(model: Any, squares: Sequence[NDArray[np.uint8]]) -> "torch.Tensor":
    """Pictures, each (side, side, 3), as the model takes them: (pictures, 3, size, size)."""
    weight = next(model.parameters())
    pixels = plain(np.stack(squares), model.config.vision_config.image_size)
    return pixels.to(weight.device, weight.dtype)


def continued(
    adapted: Adapted,
    prompts: Sequence[Sequence[int]],
    squares: Sequence[NDArray[np.uint8]],
    most_tokens: int,
) -> "torch.Tensor":
    """The likeliest tokens, one after the other, behind each prompt, which holds the soft tokens of
    its picture: (prompts, tokens)."""
    import torch

    model, pad = adapted.model, adapted.tokenizer.pad_token_id
    longest = max(map(len, prompts))
    pixels = pixel_values(model, squares)
    ids = torch.tensor(
        [[pad] * (longest - len(each)) + [*each] for each in prompts], device=pixels.device
    )
    with torch.no_grad():
        said: torch.Tensor = model.generate(
            input_ids=ids,
            attention_mask=(ids != pad).long(),
            token_type_ids=(ids == model.config.image_token_id).long(),
            pixel_values=pixels,
            max_new_tokens=most_tokens,
            do_sample=False,
        )
    return said[:, longest:]


def learnt_weights(model: Any) -> dict[str, Any]:
    """The weights that are trained, by name: a copy."""
    return {
        name: weight.detach().clone()
        for name, weight in model.named_parameters()
        if weight.requires_grad
    }


def hold_whole(model: Any, weights: Mapping[str, Any]) -> None:
    """Give the adapter back these weights, and float32.

    TRL's trainers turn an adapter on a four-bit base to bfloat16, where a step of 1e-5 is rounded
    away (weights of 0.02 are 1e-4 apart).
    """
    for name, weight in model.named_parameters():
        if name in weights:
            weight.data = weights[name].float()
