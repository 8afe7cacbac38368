"""Does the exported pair say what the trained model says?

Measures only; what is far enough to refuse is the gate's to say.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from appliance.core.caption import is_caption
from appliance.core.labels import LabelSet
from appliance.core.ports import Picture
from appliance.core.prompt import split_prompt
from appliance.release.manifest import Release
from appliance.wiring import open_captioner
from export.checkpoint import read_checkpoint
from export.errors import ExportError
from export.onnx_encoder import as_pixels, load_tower, relative_error, torch_encoder
from training.conversation import text_ids
from training.evaluation.answered import AnsweredImage
from training.evaluation.questions import Question
from training.tokenizer import load_tokenizer


@dataclass(frozen=True)
class Agreement:
    """Of an exported pair with its parent in transformers at full precision."""

    images: int
    same_label: float
    """Share of images whose likeliest label is the same."""
    same_text: float
    """Share whose whole caption is the same."""
    caption_similarity: float
    """Mean over images of the share of words that both captions have in the same order (Ratcliff
    and Metzener 1988, Dr. Dobb's Journal 13(7):46)."""
    json_valid: float
    """Share of the pair's captions that the clinic can read."""
    drift: float
    """95th percentile of the Jensen-Shannon divergence (base 2, 0 to 1) of the label probabilities
    (Lin 1991, doi:10.1109/18.61115)."""
    drift_mean: float
    embedding_error: float
    """Largest relative distance of an image's soft tokens."""
    embedding_images: int


@dataclass(frozen=True)
class Disagreement:
    """Two answers about one image."""

    parent: AnsweredImage
    exported: AnsweredImage
    drift: float


def agreement(
    labels: LabelSet,
    parent: Sequence[AnsweredImage],
    exported: Sequence[AnsweredImage],
    embedding_errors: Sequence[float],
) -> Agreement:
    """Of two evaluations of the same images, and of the errors of some images' soft tokens."""
    pairs = list(zip(parent, exported, strict=True))
    divergence = drift(parent, exported)
    return Agreement(
        images=len(pairs),
        same_label=float(np.mean([a.found == b.found for a, b in pairs])),
        same_text=float(np.mean([a.text == b.text for a, b in pairs])),
        caption_similarity=float(np.mean([similarity(a.text, b.text) for a, b in pairs])),
        json_valid=float(np.mean([is_caption(b.text, labels) for b in exported])),
        drift=float(np.quantile(divergence, 0.95)),
        drift_mean=float(divergence.mean()),
        embedding_error=max(embedding_errors),
        embedding_images=len(embedding_errors),
    )


def drift(
    parent: Sequence[AnsweredImage], exported: Sequence[AnsweredImage]
) -> NDArray[np.float64]:
    """Jensen-Shannon divergence of each image's label probabilities, (images,)."""
    from scipy.spatial.distance import jensenshannon
    from scipy.special import softmax

    sides = [softmax([image.label_scores for image in side], axis=1) for side in (parent, exported)]
    distance = jensenshannon(*sides, base=2, axis=1)
    found: NDArray[np.float64] = np.nan_to_num(distance) ** 2  # rounding makes nan of equal ones
    return found


def worst(
    parent: Sequence[AnsweredImage], exported: Sequence[AnsweredImage], most: int
) -> list[Disagreement]:
    """The images whose answers are farthest apart: another label first, then by drift."""
    found = [
        Disagreement(*each)
        for each in zip(parent, exported, drift(parent, exported).tolist(), strict=True)
    ]
    found.sort(key=lambda each: (each.parent.found == each.exported.found, -each.drift))
    return found[:most]


def similarity(one: str, other: str) -> float:
    """Of two texts' words, 1 when equal."""
    return SequenceMatcher(None, one.split(), other.split(), autojunk=False).ratio()


def embedding_errors(
    model: Path, release: Release, questions: Sequence[Question], threads: int
) -> list[float]:
    """Relative distance of each image's soft tokens between transformers and llama.cpp."""
    parent = torch_encoder(load_tower(read_checkpoint(model)))
    size = release.card.image_size
    errors = []
    with open_captioner(release, threads) as captioner:
        for question in questions:
            square = question.square(size)
            found = captioner.embed(Picture(square.tobytes(), size, "", "memory", size, size, None))
            error = relative_error(found[None], parent(as_pixels(square)))
            errors.append(float(error[0]))
    return errors


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
