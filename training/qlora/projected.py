"""Images as the decoder sees them, computed once and kept on disk.

With tower and projector frozen an image's soft tokens never change: training reads them from a
file instead of running the tower (417 M weights over 4,096 patches, in MedGemma) at every step.
View 0 of an image is the picture as at the clinic; further views are augmented.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.pixels import augment, plain

SAVE_EVERY_IMAGES = 256


def projected_key(tower: str, images: Sequence[str], views: int, size: int, seed: int) -> str:
    """Names what the file was made of: `tower` and each of `images` by their hashes."""
    made_of = json.dumps([tower, list(images), views, size, seed])
    return hashlib.sha256(made_of.encode()).hexdigest()[:16]


def project_images(
    model: Any,
    pixels: Callable[[slice], NDArray[np.uint8]],
    upright: NDArray[np.bool_],
    views: int,
    seed: int,
    file: Path,
    say: Callable[[str], None],
) -> NDArray[np.float16]:
    """Soft tokens of every image, (images, views, image tokens, text width), mapped from `file`.

    `pixels` gives (n, side, side, 3) of a slice of the images; `upright` says which are chest
    radiographs. Resumes where an earlier call was stopped.
    """
    import torch

    config = model.config
    size = config.vision_config.image_size
    shape = (len(upright), views, config.mm_tokens_per_image, config.text_config.hidden_size)
    done_file = file.with_suffix(".done")
    done = int(done_file.read_text()) if done_file.is_file() and file.is_file() else 0
    file.parent.mkdir(parents=True, exist_ok=True)
    mode = "r+" if done else "w+"
    kept = np.lib.format.open_memmap(file, mode, np.float16, shape)  # type: ignore[no-untyped-call]
    device = next(model.parameters()).device
    model.eval()
    for start in range(done, len(upright), SAVE_EVERY_IMAGES):
        chunk = slice(start, min(start + SAVE_EVERY_IMAGES, len(upright)))
        raw = pixels(chunk)
        for view in range(views):
            rng = np.random.default_rng((seed, start, view))
            images = augment(raw, upright[chunk], size, rng) if view else plain(raw, size)
            for first in range(0, len(images), 64):
                with torch.no_grad():
                    batch = images[first : first + 64].to(device, model.dtype)
                    tokens = model.get_image_features(batch).pooler_output
                place = slice(start + first, start + first + len(tokens))
                kept[place, view] = tokens.float().cpu().numpy()
        kept.flush()
        done_file.write_text(str(chunk.stop))
        say(f"projected {chunk.stop}/{len(upright)} images")
    found: NDArray[np.float16] = kept
    return found
