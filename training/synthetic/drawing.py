"""What is asked of a drawing model, whichever kind it is, and how it is opened."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from training.atlas.material import Floats
from training.synthetic.recipe import PixelRecipe, SyntheticRecipe

MODEL = "model"
"""Folder of a run that holds what draws."""


@dataclass(frozen=True)
class Wanted:
    """A picture to draw; at least one of the two says of what."""

    label: str | None
    caption: str | None
    """In one line, as `appliance.core.atlas.caption_text` writes it."""
    seed: int
    """The same model draws the same picture of the same seed, whatever is drawn beside it."""


class Painter(Protocol):
    def paint(self, wanted: Sequence[Wanted]) -> NDArray[np.uint8]:
        """(pictures, side, side, 3), without any mark: not to be written as they are."""


def open_painter(
    recipe: SyntheticRecipe, run: Path, vectors_of: Callable[[Sequence[str]], Floats]
) -> Painter:
    """The model that `train` left in `run`. `vectors_of`: captions in the atlas's space.

    Raises: FileNotFoundError when there is none.
    """
    folder = run / MODEL
    if not folder.is_dir():
        raise FileNotFoundError(f"no drawing model in {run}; run `synthetic train` first")
    if isinstance(recipe, PixelRecipe):
        from training.synthetic.pixel_model import PixelPainter

        return PixelPainter(folder, recipe.drawing, vectors_of)
    from training.synthetic.stable_model import StablePainter

    return StablePainter(folder, recipe)
