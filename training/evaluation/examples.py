"""Some of the images of an evaluation, right and wrong ones, as a report shows them."""

import io
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from appliance.core.labels import DOMAINS
from training.datasets import encoded_images, read_corrections, read_examples
from training.evaluation.answered import AnsweredImage, Evaluation, EvaluationError

SHOWN = 4
"""Of each domain, so many right and so many wrong."""
LONGEST_SIDE = 192
"""In pixels."""
HOLDS_IMAGES = "holds patient images: keep it out of version control"


@dataclass(frozen=True)
class ExampleImage:
    image: AnsweredImage
    jpeg: bytes
    """Of the pixels alone: what else the file held is left behind."""


def example_images(evaluation: Evaluation, data: Path, seed: int = 0) -> list[ExampleImage]:
    """Drawn by `seed`, by domain, right ones first.

    Raises: DatasetError; EvaluationError when `data` is not what was asked about.
    """
    groups: dict[tuple[str, bool], list[AnsweredImage]] = defaultdict(list)
    for image in evaluation.images:
        groups[image.domain, image.is_right].append(image)
    rng = np.random.default_rng(seed)
    chosen: list[AnsweredImage] = []
    for group in (groups[domain, right] for domain in DOMAINS for right in (True, False)):
        count = min(SHOWN, len(group))
        chosen += [group[place] for place in sorted(rng.choice(len(group), count, replace=False))]
    examples = [*read_examples(data)[0], *read_corrections(data)]
    label_of = {(example.dataset, example.row): example.label for example in examples}
    encoded = {name: encoded_images(data, name) for name in {image.dataset for image in chosen}}
    for image in chosen:
        if label_of.get(image.key) != image.label:
            raise EvaluationError(
                f"{data} has {image.dataset}, row {image.row} not as the {image.label} that was "
                "asked about; name the --data of the evaluation"
            )
    return [ExampleImage(image, thumbnail(encoded[image.dataset][image.row])) for image in chosen]


def thumbnail(encoded: bytes) -> bytes:
    """A small JPEG of the image's pixels alone."""
    from PIL import Image

    picture = Image.open(io.BytesIO(encoded)).convert("RGB")
    picture.thumbnail((LONGEST_SIDE, LONGEST_SIDE))
    bare = Image.fromarray(np.asarray(picture))
    file = io.BytesIO()
    bare.save(file, "JPEG", quality=85)
    return file.getvalue()
