"""Images as the decoder sees them, computed once and kept on disk.

With tower and projector frozen an image's soft tokens never change: training reads them from a
file instead of running the tower (417 M weights over 4,096 patches, in MedGemma) at every step.
View 0 of an image is the picture as at the clinic; further views are augmented.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from training.pixels import augment, plain

if TYPE_CHECKING:
    import torch

Pixels = Callable[[Iterable[int]], NDArray[np.uint8]]
"""Gives (images, side, side, 3) of the images asked for by number."""

SAVE_EVERY_IMAGES = 256
MOST_AT_ONCE, PATCHES_AT_ONCE = 64, 65_536
"""Of images and of patches given to the tower together: 16 images at MedGemma's 896 pixels."""


def projected_key(
    tower: str,
    images: Sequence[str],
    upright: NDArray[np.bool_],
    views: int,
    size: int,
    seed: int,
) -> str:
    """Names what the file was made of: `tower` and each of `images` by their hashes."""
    made_of = json.dumps([tower, list(images), upright.tolist(), views, size, seed, "gentle"])
    return hashlib.sha256(made_of.encode()).hexdigest()[:16]


def project_images(
    model: Any,
    pixels: Pixels,
    upright: NDArray[np.bool_],
    views: int,
    seed: int,
    file: Path,
    say: Callable[[str], None],
) -> NDArray[np.float16]:
    """Soft tokens of every image, (images, views, image tokens, text width), mapped from `file`.

    `upright` says which are not mirrored or turned far. Resumes where an earlier call was stopped.
    """
    import torch

    config = model.config
    size = config.vision_config.image_size
    shape = (len(upright), views, config.mm_tokens_per_image, config.text_config.hidden_size)
    done_file = file.with_suffix(".done")
    done = int(done_file.read_text()) if done_file.is_file() and file.is_file() else 0
    file.parent.mkdir(parents=True, exist_ok=True)
    mode = "r+" if done else "w+"
    kept = np.lib.format.open_memmap(file, mode, np.float16, shape)
    at_once = images_at_once((size // config.vision_config.patch_size) ** 2)
    device = next(model.parameters()).device
    model.eval()
    for start in range(done, len(upright), SAVE_EVERY_IMAGES):
        chunk = range(start, min(start + SAVE_EVERY_IMAGES, len(upright)))
        raw = pixels(chunk)
        for view in range(views):
            images = view_of(raw, upright[chunk], size, (seed, start, view))
            for first in range(0, len(images), at_once):
                with torch.no_grad():
                    batch = images[first : first + at_once].to(device, model.dtype)
                    tokens = model.get_image_features(batch).pooler_output
                place = slice(start + first, start + first + len(tokens))
                kept[place, view] = tokens.float().cpu().numpy()
        kept.flush()
        done_file.write_text(str(chunk.stop))
        say(f"projected {chunk.stop}/{len(upright)} images")
    found: NDArray[np.float16] = kept
    return found


def forget_tower(model: Any) -> None:
    """Free the tower's weights, of which nothing is asked once every image is projected."""
    import torch

    model.model.vision_tower = torch.nn.Identity()


def images_at_once(patches: int) -> int:
    """How many images of so many patches the tower takes together."""
    return max(1, min(MOST_AT_ONCE, PATCHES_AT_ONCE // patches))


def view_of(
    pixels: NDArray[np.uint8], upright: NDArray[np.bool_], size: int, seed: tuple[int, int, int]
) -> "torch.Tensor":
    """Images as the tower takes them; `seed` ends with the view, and view 0 is not augmented.

    The others are moved gently: a caption must stay true of its picture.
    """
    if seed[-1] == 0:
        return plain(pixels, size)
    return augment(pixels, upright, size, np.random.default_rng(seed), gentle=True)
