"""One table of figures for a transformers model or a llama.cpp release.

    python -m training evaluate RELEASE --data DIR

Owns running either over a split and scoring what it said; the figures themselves are in metrics.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from appliance.core.caption import CaptionFormatError, label_opening, label_prefix, parse_caption
from appliance.core.labels import LabelSet
from appliance.core.ports import Captioner, Picture
from appliance.core.prompt import END_OF_TURN
from training.conversation import prompt_ids
from training.datasets import FILES, Example, Split, encoded_images, in_split, read_examples
from training.metrics import domain_scores, merge_retinopathy
from training.pixels import decode_square

MOST_NEW_TOKENS = 320
REPORT_EVERY = 500


@dataclass(frozen=True)
class Question:
    """One image of a split, at the size the model takes, with its true label."""

    label: str
    rgb: NDArray[np.uint8]
    """(size, size, 3)."""


@dataclass(frozen=True)
class Answer:
    text: str
    label_scores: tuple[float, ...]
    """Natural log-probability of each label, in the label set's order."""


def read_questions(
    data: Path, split: Split, size: int, most_per_domain: int | None = None, seed: int = 0
) -> list[Question]:
    """The split's images, or at most so many of each domain drawn by `seed`."""
    examples, _ = read_examples(data)
    chosen = list(in_split(examples, split))
    if most_per_domain is not None:
        chosen = _sample(examples, chosen, most_per_domain, seed)
    images = {dataset: encoded_images(data, dataset) for dataset in FILES}
    return [
        Question(
            examples[i].label, decode_square(images[examples[i].dataset][examples[i].row], size)
        )
        for i in chosen
    ]


def ask_release(
    captioner: Captioner, questions: Sequence[Question], say: Callable[[str], None]
) -> list[Answer]:
    answers = []
    for count, question in enumerate(questions, 1):
        size = len(question.rgb)
        picture = Picture(question.rgb.tobytes(), size, "", "memory", size, size, None)
        reading = captioner.read(picture)
        answers.append(Answer(reading.text, reading.label_scores))
        if count % REPORT_EVERY == 0:
            say(f"{count}/{len(questions)} images")
    return answers


def ask_model(
    folder: Path, labels: LabelSet, questions: Sequence[Question], *, write: bool = True
) -> list[Answer]:
    """Answers of the transformers model in `folder` at full precision, greedily decoded.

    Unless `write`, the texts stay empty and only the labels are scored.
    """
    import torch
    from transformers import Gemma3ForConditionalGeneration

    from training.tokenizer import load_tokenizer

    model: Any = Gemma3ForConditionalGeneration.from_pretrained(folder, dtype=torch.float32).eval()
    tokenizer = load_tokenizer(folder)
    prompt = prompt_ids(tokenizer, model.config.mm_tokens_per_image)
    soft = model.config.image_token_id
    scored = [_label_ids(tokenizer, name) for name in labels.names]
    columns = enumerate(zip(*scored, strict=False))
    shared = next(place for place, column in columns if len(set(column)) > 1)
    common, tails = scored[0][:shared], [ids[shared:] for ids in scored]
    answers = []
    with torch.no_grad():
        for question in questions:
            pixels = torch.from_numpy(question.rgb.copy()).permute(2, 0, 1).float() / 127.5 - 1
            features = model.get_image_features(pixels[None]).pooler_output
            scores = tuple(_tail_scores(model, [*prompt, *common], tails, soft, features))
            text = ""
            if write:
                ids = torch.tensor([prompt])
                made = model.generate(
                    input_ids=ids,
                    pixel_values=pixels[None],
                    token_type_ids=(ids == soft).long(),
                    attention_mask=torch.ones_like(ids),
                    max_new_tokens=MOST_NEW_TOKENS,
                    do_sample=False,
                )
                decoded: Any = tokenizer.decode(made[0, len(prompt) :], skip_special_tokens=True)
                text = decoded.split(END_OF_TURN, maxsplit=1)[0].strip()
            answers.append(Answer(text, scores))
    return answers


def evaluate(
    labels: LabelSet, questions: Sequence[Question], answers: Sequence[Answer]
) -> dict[str, Any]:
    """Figures by domain, with the shares of valid captions and of right domains."""
    truth = np.array([labels.names.index(question.label) for question in questions])
    found = np.array([int(np.argmax(answer.label_scores)) for answer in answers])
    valid = [_is_valid(answer.text, labels) for answer in answers]
    domain_right = [
        labels.domain_of(labels.names[t]) == labels.domain_of(labels.names[f])
        for t, f in zip(truth, found, strict=True)
    ]
    return {
        "images": len(questions),
        "json_valid": float(np.mean(valid)),
        "domain_right": float(np.mean(domain_right)),
        "domains": {d: asdict(s) for d, s in domain_scores(labels, truth, found).items()},
        "fundus_grades_merged": _merged_fundus(labels, truth, found),
    }


def _merged_fundus(
    labels: LabelSet, truth: NDArray[np.int64], found: NDArray[np.int64]
) -> dict[str, Any] | None:
    """Fundus with retinopathy from moderate on as one label; None without fundus images."""
    merged = (merge_retinopathy(labels, positions) for positions in (truth, found))
    scores = domain_scores(labels, *merged)
    return asdict(scores["fundus"]) if "fundus" in scores else None


def _label_ids(tokenizer: Any, name: str) -> list[int]:
    """The caption's first tokens, through the quote that closes the label: what the clinic scores
    (less those that all labels share)."""
    prefix = label_prefix(name)
    end = len(label_opening(name))
    made = tokenizer(prefix, add_special_tokens=False, return_offsets_mapping=True)
    return [
        i for i, (start, _) in zip(made.input_ids, made.offset_mapping, strict=True) if start < end
    ]


def _tail_scores(
    model: Any, prompt: list[int], tails: list[list[int]], soft: int, features: Any
) -> list[float]:
    """Log-probability of every tail after the prompt with the image's features in place."""
    import torch

    longest = max(map(len, tails))
    rows = [[*prompt, *tail, *[0] * (longest - len(tail))] for tail in tails]
    ids = torch.tensor(rows)
    embedded = model.get_input_embeddings()(ids)
    is_image = ids == soft
    embedded[is_image] = features.flatten(0, -2).repeat(len(tails), 1).to(embedded.dtype)
    logits = model(inputs_embeds=embedded, token_type_ids=is_image.long()).logits
    logs = logits.float().log_softmax(-1)
    start = len(prompt)
    return [
        float(sum(logs[row, start + i - 1, token] for i, token in enumerate(tail)))
        for row, tail in enumerate(tails)
    ]


def _is_valid(text: str, labels: LabelSet) -> bool:
    try:
        parse_caption(text, labels)
    except CaptionFormatError:
        return False
    return True


def _sample(examples: Sequence[Example], chosen: list[int], most: int, seed: int) -> list[int]:
    rng = np.random.default_rng(seed)
    drawn: list[int] = []
    for domain in dict.fromkeys(examples[i].domain for i in chosen):
        inside = [i for i in chosen if examples[i].domain == domain]
        drawn += sorted(rng.choice(inside, min(most, len(inside)), replace=False).tolist())
    return drawn
