"""Writes drawn pictures: each marked in its pixels, its name, its file and a card beside it."""

import hashlib
import io
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from training.checkpoint import weights_hash
from training.datasets import FILES
from training.synthetic.drawing import MODEL, Wanted
from training.synthetic.recipe import StableRecipe, SyntheticRecipe
from training.synthetic.watermark import marked
from training.whole_file import write_whole

NAME = "synthetic"
WARNING = (
    "SYNTHETIC: drawn by a model, of no patient. Not for diagnosis, and no evidence of what a "
    "disease looks like."
)


@dataclass(frozen=True)
class Origin:
    """What drew a picture."""

    model: str
    """The recipe's name."""
    model_sha256: str
    base: str | None
    """The folder of the pipeline that was tuned; None for a model trained from nothing."""
    side: int
    """In pixels, as drawn, before it was enlarged."""
    steps: int
    guidance: float


def origin_of(recipe: SyntheticRecipe, run: Path) -> Origin:
    """The model that `train` left in `run`. Raises: OSError."""
    if isinstance(recipe, StableRecipe):
        weights, base, side = run / MODEL, recipe.base, recipe.lora.side
    else:
        weights, base, side = run / MODEL / "unet", None, recipe.unet.side
    drawing = recipe.drawing
    return Origin(recipe.name, weights_hash(weights), base, side, drawing.steps, drawing.guidance)


def publish(
    pixels: NDArray[np.uint8], wanted: Sequence[Wanted], origin: Origin, folder: Path
) -> list[Path]:
    """Write (pictures, side, side, 3) as PNG files, each with a card beside it; returns their
    paths.

    Raises: FileExistsError for a picture that is there already, ValueError for one that cannot hold
    the invisible mark; OSError.
    """
    files = [folder / f"{stem(one)}.png" for one in wanted]
    for file in files:
        if file.exists():
            raise FileExistsError(f"{file} is there already; give another folder or another seed")
    folder.mkdir(parents=True, exist_ok=True)
    for picture, one, file in zip(pixels, wanted, files, strict=True):
        encoded = encode(picture, one, origin)
        card = {
            "synthetic": True,
            "warning": WARNING,
            "file": file.name,
            "sha256": hashlib.sha256(encoded).hexdigest(),
            "label": one.label,
            "caption": one.caption,
            "seed": one.seed,
            "drawn_by": vars(origin),
            "trained_on": FILES,
            "marks": ["visible band", "signs of cosines (appliance/core/synthetic_mark.py)"],
        }
        write_whole(file.with_suffix(".json"), json.dumps(card, indent=1) + "\n")
        write_whole(file, encoded)
    return files


def encode(picture: NDArray[np.uint8], one: Wanted, origin: Origin) -> bytes:
    """A PNG with both marks and with text chunks. Raises: ValueError."""
    from PIL import Image
    from PIL.PngImagePlugin import PngInfo

    chunks = PngInfo()
    chunks.add_text("Title", "SYNTHETIC picture")
    chunks.add_text("Warning", WARNING)
    chunks.add_text("Software", f"{origin.model} {origin.model_sha256}")
    chunks.add_itxt("Description", one.caption or one.label or "")
    file = io.BytesIO()
    Image.fromarray(marked(picture)).save(file, "PNG", pnginfo=chunks)
    return file.getvalue()


def stem(one: Wanted) -> str:
    """Of a picture's file and its card: says that it is synthetic, what it is, and its seed."""
    words = re.sub(r"[^a-z0-9]+", "-", (one.label or "from caption").lower()).strip("-")
    return f"{NAME}-{words}-{one.seed:06}"
