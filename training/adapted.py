"""A base model with a trained adapter, and what turns text and pictures into its input."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Adapted:
    """A model with its adapter, and its tokenizer."""

    model: Any
    tokenizer: Any


def load_adapted(adapter: Path, *, learns: bool = False) -> Adapted:
    """The adapter in a folder that a training run wrote, on the base it was trained on.

    `learns`: it is to be trained further.

    Raises: BaseModelError, also when the base is not the one it was trained on; OSError for what
    is no such folder.
    """
    from peft import PeftModel

    from training.checkpoint import weights_hash
    from training.qlora.base import BaseModelError, require_base
    from training.qlora.recipe import Quantization
    from training.qlora.train import load_base
    from training.tokenizer import load_tokenizer

    made_of = json.loads((adapter / "training.json").read_text(encoding="utf-8"))
    recipe = made_of["recipe"]
    folder = require_base(recipe["base"])
    if made_of.get("base_sha256") not in (None, weights_hash(folder)):
        raise BaseModelError(
            f"{adapter} was not trained on the weights that {folder} holds now; bring those back, "
            "or train it again"
        )
    base = load_base(recipe["base"], Quantization(**recipe["quantization"]))
    model = PeftModel.from_pretrained(base, str(adapter), is_trainable=learns)
    return Adapted(model.train(learns), load_tokenizer(folder))


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
