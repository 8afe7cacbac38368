"""What a captioner makes of judged pictures that it does not learn from."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from appliance.core.caption import (
    Caption,
    CaptionFormatError,
    caption_json,
    label_opening,
    parse_caption,
)
from appliance.core.labels import LabelSet
from appliance.core.prompt import END_OF_TURN
from training.adapted import Adapted, continued, pixel_values
from training.conversation import prompt_ids, text_ids
from training.labels import label_set
from training.looks import AfterSteps
from training.preferences.shard import Judged, Preference, picture_of
from training.treatment.judging import answer_shares, soft_tokens

if TYPE_CHECKING:
    import torch

AT_ONCE = 16
"""Captions written together."""
LONGEST_CAPTION = 300
"""Tokens; more than any caption taught."""


@dataclass(frozen=True)
class Look(AfterSteps):
    """At the judged pictures held apart."""

    preferred: float
    """Share of the pairs of which the chosen caption is the likelier."""
    gained: float
    """Share of the pairs of which it became likelier, against the other, than the reference finds
    it: DPO's preference accuracy, 0 before the first step."""
    margin: float
    """By how many nats it did, on average."""
    label_accuracy: float
    """Share of the pictures whose likeliest label, of their domain, is the clinician's."""
    divergence: float
    """Nats by which the next tokens' distribution diverges from the reference's, summed over a
    chosen caption: KL(trained || reference), averaged over the pairs."""


def look(
    adapted: Adapted, pairs: Sequence[Preference], judged: Sequence[Judged], step: int
) -> Look:
    """`adapted` holds the reference as the adapter `ref`, as TRL's trainer makes it."""
    import torch
    from trl.trainer.utils import use_adapter

    chosen_likelier, margins, divergences = [], [], []
    for pair in pairs:
        captions = (pair.chosen, pair.rejected)
        square = picture_of(pair.picture, adapted.side)
        trained = [_next_tokens(adapted, square, caption) for caption in captions]
        with use_adapter(adapted.model, "ref"):
            reference = [_next_tokens(adapted, square, caption) for caption in captions]
        said, said_before = map(_likelihoods, (trained, reference))
        chosen_likelier.append(said[0] > said[1])
        margins.append((said[0] - said_before[0]) - (said[1] - said_before[1]))
        (now, _), (before, _) = trained[0], reference[0]
        divergences.append(float(torch.sum(now.exp() * (now - before))))
    found = likeliest_labels(adapted, [(one.picture, one.caption.label) for one in judged])
    return Look(
        step=step,
        preferred=float(np.mean(chosen_likelier)),
        gained=float(np.mean([margin > 0 for margin in margins])),
        margin=float(np.mean(margins)),
        label_accuracy=float(
            np.mean([name == one.caption.label for name, one in zip(found, judged, strict=True)])
        ),
        divergence=float(np.mean(divergences)),
    )


def is_better(furthest: float, after: Look, best: Look, first: Look) -> bool:
    """Whether these weights are to be kept: more of the chosen captions likelier than by the best
    so far, or as many by a wider margin, no label lost, and no further than `furthest` away."""
    better = (after.preferred, after.margin) > (best.preferred, best.margin)
    near = after.divergence <= furthest
    return better and near and after.label_accuracy >= first.label_accuracy


def _next_tokens(
    adapted: Adapted, square: NDArray[np.uint8], caption: Caption
) -> "tuple[torch.Tensor, torch.Tensor]":
    """Of a caption's tokens the log-probabilities of all that could stand there, (tokens,
    vocabulary), and which one does, (tokens,)."""
    import torch

    config, tokenizer = adapted.model.config, adapted.tokenizer
    prompt = prompt_ids(tokenizer, config.mm_tokens_per_image)
    answer = text_ids(tokenizer, caption_json(caption) + END_OF_TURN + "\n")
    pixels = pixel_values(adapted.model, [square])
    ids = torch.tensor([[*prompt, *answer]], device=pixels.device)
    with torch.no_grad():
        logits = adapted.model(
            input_ids=ids,
            token_type_ids=(ids == config.image_token_id).long(),
            pixel_values=pixels,
            logits_to_keep=len(answer) + 1,
            use_cache=False,
        ).logits[0, :-1]
    return torch.log_softmax(logits.float(), 1), ids[0, len(prompt) :]


def _likelihoods(told: "Sequence[tuple[torch.Tensor, torch.Tensor]]") -> list[float]:
    """Log-likelihood of each caption."""
    return [float(every.gather(1, which[:, None]).sum()) for every, which in told]


def likeliest_labels(adapted: Adapted, pictures: Sequence[tuple[Any, str]]) -> list[str]:
    """Of each picture's file the likeliest label of the domain that this label is of."""
    labels = label_set()
    prompt = prompt_ids(adapted.tokenizer, adapted.model.config.mm_tokens_per_image)
    found = []
    for file, label in pictures:
        names = labels.in_domain(labels.domain_of(label))
        features = soft_tokens(adapted.model, picture_of(file, adapted.side))
        openings = [label_opening(name) for name in names]
        shares = answer_shares(adapted, prompt, "", openings, features)
        found.append(names[int(np.argmax(shares))])
    return found


def own_captions(adapted: Adapted, squares: Sequence[NDArray[np.uint8]]) -> list[Caption | None]:
    """What it says itself of each picture, (side, side, 3); None for what is no caption."""
    labels = label_set()
    return [
        _read(text, labels)
        for first in range(0, len(squares), AT_ONCE)
        for text in written(adapted, squares[first : first + AT_ONCE])
    ]


def _read(text: str, labels: LabelSet) -> Caption | None:
    try:
        return parse_caption(text, labels)
    except CaptionFormatError:
        return None


def written(adapted: Adapted, squares: Sequence[NDArray[np.uint8]]) -> list[str]:
    """The likeliest text, token for token, of each picture."""
    tokenizer = adapted.tokenizer
    prompt = prompt_ids(tokenizer, adapted.model.config.mm_tokens_per_image)
    said = continued(adapted, [prompt] * len(squares), squares, LONGEST_CAPTION)
    texts = tokenizer.batch_decode(said, skip_special_tokens=True)
    return [text.split(END_OF_TURN)[0].strip() for text in texts]


def describe(found: Look, steps: int) -> str:
    return (
        f"step {found.step}/{steps} held pairs: chosen likelier {found.preferred:.3f}, gained"
        f" {found.gained:.3f}, margin {found.margin:.2f}, divergence {found.divergence:.2f};"
        f" label {found.label_accuracy:.3f}"
    )
