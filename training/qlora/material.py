"""From a file of captions and the images they belong to, to what a QLoRA run learns from."""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
from numpy.typing import NDArray

from appliance.core.caption import Caption, CaptionFormatError, caption_json, parse_caption
from appliance.core.labels import LabelSet
from training.conversation import conversation
from training.datasets import (
    DatasetError,
    Example,
    Split,
    encoded_images,
    read_corrections,
    read_examples,
)
from training.labels import TABLE, label_set
from training.pixels import CACHE_SIZE, decoded
from training.processes import processes
from training.qlora.projected import Pixels, project_images, projected_key, view_of
from training.qlora.recipe import QloraRecipe
from training.qlora.train import ImageTokens, Material
from training.sampling import sampling_weights

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class CaptionedImage:
    """A line of captions.jsonl: an image, its caption, and the split it was put in."""

    example: Example
    caption: Caption
    split: Split


def read_captions(file: Path, data: Path) -> list[CaptionedImage]:
    """Raises: DatasetError naming the line that is no caption of an image of `data`, whose label
    is another or in no table, or whose group is in another split, too; or a split without lines.
    """
    examples = [*read_examples(data)[0], *read_corrections(data)]
    known = {(example.dataset, example.row): example for example in examples}
    labels = label_set()
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as exc:
        raise DatasetError(f"{file}: not UTF-8 text; is it the captions.jsonl?") from exc
    rows = [
        _captioned(line, f"{file}, line {number}", known, labels)
        for number, line in enumerate(lines, 1)
    ]
    if not rows:
        raise DatasetError(f"{file}: holds no caption; run `teach` or `measured` first")
    _refuse_shared_groups(file, rows)
    for split in ("train", "val"):
        if not any(row.split == split for row in rows):
            raise DatasetError(f"{file}: no line of {len(rows)} has the split {split!r}")
    return rows


def read_learnable(file: Path, data: Path) -> list[CaptionedImage]:
    """All but the test split, of which nothing is ever learnt. Raises: DatasetError."""
    return [each for each in read_captions(file, data) if each.split != "test"]


def _captioned(
    line: str, where: str, known: dict[tuple[str, int], Example], labels: LabelSet
) -> CaptionedImage:
    try:
        row = json.loads(line)
        example = known[row["dataset"], row["row"]]
        caption, split = Caption(**row["caption"]), row["split"]
    except (ValueError, KeyError, TypeError) as exc:
        raise DatasetError(f"{where}: not a caption of these images") from exc
    if caption.label not in labels.names:
        raise DatasetError(f"{where}: no such label in {TABLE.name}: {caption.label!r}")
    if caption.label != example.label:
        raise DatasetError(
            f"{where}: the caption says {caption.label!r}, the data {example.label!r}"
        )
    try:
        parse_caption(caption_json(caption), labels)  # what the clinic would refuse
    except CaptionFormatError as exc:
        raise DatasetError(f"{where}: {exc}; correct the line or take it out") from exc
    if split not in get_args(Split):
        raise DatasetError(f"{where}: no such split: {split!r}")
    return CaptionedImage(example, caption, split)


def gather(
    model: Any,
    tokenizer: Any,
    recipe: QloraRecipe,
    captioned: list[CaptionedImage],
    data: Path,
    run: Path,
    say: Callable[[str], None],
) -> Material:
    """Token ids of every caption and soft tokens of every image, the latter kept in `run`.

    Raises: DatasetError for an image that cannot be read, or a share of a domain without images.
    """

    for domain, share in recipe.steps.domain_share.items():
        learnt = (row.example.domain for row in captioned if row.split == "train")
        if share and domain not in learnt:
            raise DatasetError(
                f"no caption of the training split is of {domain}: take {domain} out of "
                "steps.domain_share in the recipe"
            )
    size, length = model.config.vision_config.image_size, model.config.mm_tokens_per_image
    examples = [each.example for each in captioned]
    images = {
        dataset: encoded_images(data, dataset) for dataset in {each.dataset for each in examples}
    }
    encoded = [images[example.dataset][example.row] for example in examples]
    hashes = [hashlib.sha256(image).hexdigest() for image in encoded]
    views, seed = recipe.steps.views, recipe.seed
    side = max(size, CACHE_SIZE)  # augmentation crops and turns within it

    def pixels(chosen: Iterable[int]) -> NDArray[np.uint8]:
        return np.stack([decoded(examples[image], encoded[image], side) for image in chosen])

    keeps = recipe.steps.keeps_sides
    upright = np.array([keeps or example.domain == "chest" for example in examples])
    if recipe.adapter.vision == "frozen":
        key = projected_key(tower_hash(model), hashes, upright, views, size, seed)
        file = run / f"projected-{key}.npy"
        with processes().main_process_first():  # the others find the file made
            kept = project_images(model, pixels, upright, views, seed, file, say)
        tokens = kept_tokens(kept)
    else:
        tokens = live_tokens(pixels, upright, seed)
    settings = recipe.steps

    def drawn(places: NDArray[np.int64]) -> NDArray[np.float64]:
        """How likely each of these images is drawn."""
        inside = [examples[place] for place in places]
        return sampling_weights(inside, settings.domain_share, settings.balance)

    train = np.array(list(_places(captioned, "train")))
    validation = np.array(list(_places(captioned, "val")))
    validation = validation[drawn(validation) > 0]
    if len(validation) > settings.validated:
        # Drawn as in training: where labels are balanced, the loss of images as they come would
        # be lowest before the rare labels are learnt.
        validation = np.random.default_rng(seed).choice(
            validation, settings.validated, replace=False, p=drawn(validation)
        )
    return Material(
        lessons=[
            conversation(tokenizer, length, each.caption, settings.label_weight)
            for each in captioned
        ],
        image_tokens=tokens,
        views=views,
        train=train,
        validation=validation,
        weights=drawn(train),
        images_sha256=hashlib.sha256("".join(hashes).encode()).hexdigest(),
    )


def kept_tokens(kept: NDArray[np.float16]) -> ImageTokens:
    """Soft tokens read from (images, views, image tokens, text width)."""

    def read(model: Any, images: NDArray[np.int64], views: NDArray[np.int64]) -> "torch.Tensor":
        import torch

        return torch.from_numpy(kept[images, views])

    return read


def live_tokens(pixels: Pixels, upright: NDArray[np.bool_], seed: int) -> ImageTokens:
    """Soft tokens made by the model at each step, for a tower that learns."""

    def make(model: Any, images: NDArray[np.int64], views: NDArray[np.int64]) -> "torch.Tensor":
        import torch

        size = model.config.vision_config.image_size
        seen = [
            view_of(pixels([image]), upright[[image]], size, (seed, int(image), int(view)))
            for image, view in zip(images, views, strict=True)
        ]
        device = next(model.parameters()).device
        batch = torch.cat(seen).to(device, model.dtype)
        found: torch.Tensor = model.get_image_features(batch).pooler_output
        return found

    return make


def tower_hash(model: Any) -> str:
    """Of every weight that an image passes on its way to the decoder."""
    import torch

    digest = hashlib.sha256()
    parts = (model.model.vision_tower, model.model.multi_modal_projector)
    for part in parts:
        for name, weight in sorted(part.state_dict().items()):
            digest.update(name.encode())
            raw = weight.detach().cpu().contiguous().flatten().view(torch.uint8)
            digest.update(raw.numpy().tobytes())
    return digest.hexdigest()


def _places(captioned: list[CaptionedImage], split: Split) -> Iterator[int]:
    return (place for place, each in enumerate(captioned) if each.split == split)


def _refuse_shared_groups(file: Path, rows: list[CaptionedImage]) -> None:
    split_of: dict[tuple[str, str], Split] = {}
    for row in rows:
        group = (row.example.dataset, row.example.group)
        if split_of.setdefault(group, row.split) != row.split:
            raise DatasetError(f"{file}: group {group[1]} of {group[0]} is in two splits")
