"""Putting questions to a release in llama.cpp or to a transformers model, one answer an image.

Answers come as they are made, so that whoever asks can keep them. Their worth is not known here.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from appliance.core.caption import label_opening, label_prefix
from appliance.core.labels import LabelSet
from appliance.core.ports import Captioner, Picture
from appliance.core.prompt import END_OF_TURN
from training.conversation import prompt_ids
from training.evaluation.questions import Question

if TYPE_CHECKING:
    import torch

MOST_NEW_TOKENS = 320
BATCH = 8
"""Captions a transformers model writes at a time."""
REPORT_EVERY = 500


@dataclass(frozen=True)
class Answer:
    text: str
    label_scores: tuple[float, ...]
    """Natural log-probability of each label, in the label set's order."""


def ask_release(captioner: Captioner, questions: Iterable[Question]) -> Iterator[Answer]:
    size = captioner.release.image_size
    for question in questions:
        rgb = question.square(size).tobytes()
        reading = captioner.read(Picture(rgb, size, "", "memory", size, size, None))
        yield Answer(reading.text, reading.label_scores)


def ask_model(
    folder: Path,
    labels: LabelSet,
    questions: Sequence[Question],
    *,
    adapter: Path | None = None,
    write: bool = True,
    full_precision: bool = False,
) -> Iterator[Answer]:
    """Answers of the transformers model in `folder`, with a peft adapter on it if there is one,
    greedily decoded, in `dtype_on` the device.

    Unless `write`, the texts stay empty and only the labels are scored.
    Raises: OSError when a folder holds no model or adapter.
    """
    import torch

    from training.tokenizer import load_tokenizer

    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = _load_model(folder, adapter, dtype_on(device, full_precision))
    model = model.to(device).eval()
    tokenizer = load_tokenizer(folder)
    size = model.config.vision_config.image_size
    prompt = prompt_ids(tokenizer, model.config.mm_tokens_per_image)
    scores_of = label_scorer(model, tokenizer, labels)
    for start in range(0, len(questions), BATCH):
        squares = [question.square(size) for question in questions[start : start + BATCH]]
        images = torch.stack([torch.from_numpy(rgb.copy()) for rgb in squares])
        pixels = (images.permute(0, 3, 1, 2).float() / 127.5 - 1).to(device, model.dtype)
        with torch.no_grad():
            scores = scores_of(model.get_image_features(pixels).pooler_output)
        texts = _captions(model, tokenizer, prompt, pixels) if write else [""] * len(squares)
        yield from map(Answer, texts, scores)


def dtype_on(device: str, full_precision: bool) -> "torch.dtype":
    """float32 on a CPU and for `full_precision`, else bfloat16."""
    import torch

    return torch.float32 if full_precision or device == "cpu" else torch.bfloat16


def with_progress(
    answers: Iterator[Answer], total: int, say: Callable[[str], None]
) -> Iterator[Answer]:
    """The same answers, saying now and then how many of `total` there are."""
    for count, answer in enumerate(answers, 1):
        yield answer
        if count % REPORT_EVERY == 0:
            say(f"{count}/{total} images")


def label_scorer(
    model: Any, tokenizer: Any, labels: LabelSet
) -> Callable[[Any], list[tuple[float, ...]]]:
    """What gives each label's log-probability after the prompt, as the clinic scores it, for every
    image of some soft tokens (images, image tokens, text width)."""
    import torch

    scored = [label_ids(tokenizer, name) for name in labels.names]
    columns = enumerate(zip(*scored, strict=False))
    shared = next(place for place, column in columns if len(set(column)) > 1)
    common, tails = scored[0][:shared], [ids[shared:] for ids in scored]
    longest = max(map(len, tails))
    prompt = [*prompt_ids(tokenizer, model.config.mm_tokens_per_image), *common]
    rows = [[*prompt, *tail, *[0] * (longest - len(tail))] for tail in tails]
    ids = torch.tensor(rows, device=model.device)
    is_image = ids == tokenizer.convert_tokens_to_ids("<image_soft_token>")

    def of_image(tokens: Any) -> tuple[float, ...]:
        embedded = model.get_input_embeddings()(ids)
        embedded[is_image] = tokens.repeat(len(tails), 1).to(embedded.dtype)
        logits = model(
            inputs_embeds=embedded,
            token_type_ids=is_image.long(),
            logits_to_keep=longest + 1,  # a 4B model's vocabulary over whole prompts is 3 GB
        ).logits
        logs = logits.float().log_softmax(-1).cpu()
        return tuple(
            float(sum(logs[row, place, token] for place, token in enumerate(tail)))
            for row, tail in enumerate(tails)
        )

    def scores_of(images: Any) -> list[tuple[float, ...]]:
        with torch.no_grad():
            return [of_image(tokens) for tokens in images]

    return scores_of


def _load_model(folder: Path, adapter: Path | None, dtype: Any) -> Any:
    from transformers import Gemma3ForConditionalGeneration

    model: Any = Gemma3ForConditionalGeneration.from_pretrained(
        folder, dtype=dtype, local_files_only=True
    )
    if adapter is None:
        return model
    from peft import PeftModel

    return PeftModel.from_pretrained(model, adapter, local_files_only=True).get_base_model()


def _captions(model: Any, tokenizer: Any, prompt: list[int], pixels: Any) -> list[str]:
    """The text written about each image of `pixels`, (images, 3, size, size)."""
    import torch

    ids = torch.tensor([prompt] * len(pixels), device=pixels.device)
    with torch.no_grad():
        made = model.generate(
            input_ids=ids,
            pixel_values=pixels,
            token_type_ids=(ids == model.config.image_token_id).long(),
            attention_mask=torch.ones_like(ids),
            max_new_tokens=MOST_NEW_TOKENS,
            do_sample=False,
        )
    texts = tokenizer.batch_decode(made[:, len(prompt) :], skip_special_tokens=True)
    return [text.split(END_OF_TURN, maxsplit=1)[0].strip() for text in texts]


def label_ids(tokenizer: Any, name: str) -> list[int]:
    """The caption's first tokens, through the quote that closes the label: what the clinic scores
    (less those that all labels share)."""
    prefix = label_prefix(name)
    end = len(label_opening(name))
    made = tokenizer(prefix, add_special_tokens=False, return_offsets_mapping=True)
    return [
        i for i, (start, _) in zip(made.input_ids, made.offset_mapping, strict=True) if start < end
    ]
