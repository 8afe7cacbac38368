"""Does the exported pair say what the trained model says?"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from appliance.core.labels import LabelSet
from appliance.core.prompt import split_prompt
from export.errors import ExportError
from training.conversation import text_ids
from training.evaluation.asking import Answer
from training.tokenizer import load_tokenizer


@dataclass(frozen=True)
class Agreement:
    """Of the exported pair with its parent in transformers at full precision."""

    images: int
    same_label: float
    """Share of images whose likeliest label is the same."""
    same_text: float
    """Share whose whole caption is the same."""
    largest_score_difference: float
    """Of any label's log-probability, in nats."""


def agreement(parent: Sequence[Answer], exported: Sequence[Answer]) -> Agreement:
    a, b = (np.array([answer.label_scores for answer in side]) for side in (parent, exported))
    same_text = [x.text == y.text for x, y in zip(parent, exported, strict=True)]
    return Agreement(
        images=len(parent),
        same_label=float(np.mean(a.argmax(1) == b.argmax(1))),
        same_text=float(np.mean(same_text)),
        largest_score_difference=float(np.abs(a - b).max()),
    )


def check_prompt_tokens(folder: Path, model: Path, labels: LabelSet) -> None:
    """Both sides must cut prompt and labels into the same tokens. Raises: ExportError."""
    from llama_cpp import Llama

    from appliance.core.caption import label_prefix

    tokenizer = load_tokenizer(folder)
    llama = Llama(str(model), vocab_only=True, verbose=False)
    try:
        for text in (*split_prompt(), *map(label_prefix, labels.names)):
            ours = text_ids(tokenizer, text)
            theirs = llama.tokenize(text.encode(), add_bos=False, special=True)
            if ours != theirs:
                raise ExportError(f"tokens differ for {text!r}: {ours} and {theirs}")
    finally:
        llama.close()


def as_manifest(found: Agreement) -> dict[str, Any]:
    return {"with": "transformers, float32", **asdict(found)}
