"""Pixels for training: every image decoded once, then batches with augmentation that keeps the
caption true.

Skin and fundus pictures have no up or side that a measured caption names, so they turn and mirror
freely. A chest radiograph does not: mirroring moves the heart.
"""

import hashlib
import math
from collections.abc import Sequence
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from training.datasets import FILES, DatasetError, Example, encoded_images, file_sizes

if TYPE_CHECKING:
    import torch

CACHE_SIZE = 160
"""Side of the cached square in pixels: more than the model's, to crop and turn within."""
PADDING = 0.12
"""Largest shift, as a share of half the side."""
GENTLE_PADDING = 0.04


def load_pixels(folder: Path, examples: Sequence[Example], run: Path) -> NDArray[np.uint8]:
    """RGB of every example, (examples, CACHE_SIZE, CACHE_SIZE, 3), squashed to a square.

    Decoded on the first call (13 s for 21,000 images on two cores), then mapped from a file of
    `run` that is named by the examples and the sizes of their data sets' files.
    Raises: DatasetError for an image that cannot be read.
    """
    held = repr(
        (CACHE_SIZE, file_sizes(folder), [(example.dataset, example.row) for example in examples])
    )
    cache = run / f"pixels-{hashlib.sha256(held.encode()).hexdigest()[:12]}.npy"
    if not cache.is_file():
        cache.parent.mkdir(parents=True, exist_ok=True)
        images = {dataset: encoded_images(folder, dataset) for dataset in FILES}
        with get_context("spawn").Pool() as pool:  # torch may have threads by now
            pairs = ((example, images[example.dataset][example.row]) for example in examples)
            pixels = np.stack(list(pool.imap(_kept, pairs, chunksize=64)))
        aside = cache.with_suffix(".partial.npy")
        np.save(aside, pixels)
        aside.rename(cache)
    cached: NDArray[np.uint8] = np.load(cache, mmap_mode="r")
    return cached


def decode_square(encoded: bytes, size: int) -> NDArray[np.uint8]:
    """RGB of one image squashed to (size, size, 3), bilinear, as at the clinic."""
    from PIL import Image

    from appliance.wiring import decode_picture  # slow to import

    image = decode_picture(encoded)
    return np.asarray(image.resize((size, size), Image.Resampling.BILINEAR))


def decoded(example: Example, encoded: bytes, size: int) -> NDArray[np.uint8]:
    """The same, of an example. Raises: DatasetError naming its row when it is no image."""
    try:
        return decode_square(encoded, size)
    except undecodable() as exc:
        raise DatasetError(
            f"{example.dataset}, row {example.row}: the image cannot be read ({exc}); "
            "replace it, or take its row out"
        ) from exc


def undecodable() -> tuple[type[Exception], ...]:
    """What decoding raises for what is no picture: Pillow's own, SyntaxError (a broken PNG)
    among them."""
    from PIL import Image

    return (OSError, SyntaxError, ValueError, TypeError, Image.DecompressionBombError)


def _kept(pair: tuple[Example, bytes]) -> NDArray[np.uint8]:
    return decoded(*pair, CACHE_SIZE)


def plain(pixels: NDArray[np.uint8], size: int) -> "torch.Tensor":
    """(batch, side, side, 3) bytes to (batch, 3, size, size) in [-1, 1], SigLIP's scaling."""
    import torch
    import torch.nn.functional as F

    images = torch.from_numpy(np.ascontiguousarray(pixels)).permute(0, 3, 1, 2).float()
    return F.interpolate(
        images / 127.5 - 1, size=(size, size), mode="bilinear", antialias=True, align_corners=False
    )


def augment(
    pixels: NDArray[np.uint8],
    upright: NDArray[np.bool_],
    size: int,
    rng: np.random.Generator,
    *,
    gentle: bool = False,
) -> "torch.Tensor":
    """As `plain`, with random turn, zoom, shift, light and colour.

    Where `upright` (chest, or a caption that may name a side): turned by 12 degrees at most, never
    mirrored, colour left alone; and where `gentle` so little moved that what a caption says of the
    zones of the chest stays true.
    """
    import torch
    import torch.nn.functional as F

    n = len(pixels)

    def between(low: float, high: float) -> "torch.Tensor":
        return torch.from_numpy(rng.uniform(low, high, n).astype(np.float32))

    def sign(free: "torch.Tensor") -> "torch.Tensor":
        return torch.where((between(0, 1) < 0.5) & free, -1.0, 1.0)

    chest = torch.from_numpy(upright)
    tilt, nearest, padding = (3, 0.92, GENTLE_PADDING) if gentle else (12, 0.8, PADDING)
    angle = torch.where(chest, between(-tilt, tilt), between(-180, 180)) * (math.pi / 180)
    zoom = torch.where(chest, between(nearest, 1.05), between(0.72, 1.05))
    shift = torch.where(chest, between(-padding, padding), between(-PADDING, PADDING))
    rise = torch.where(chest, between(-padding, padding), between(-PADDING, PADDING))
    aspect, mirror, flip = between(0.9, 1.1), sign(~chest), sign(~chest)
    cosine, sine = torch.cos(angle) * zoom, torch.sin(angle) * zoom
    matrix = torch.stack(
        [
            torch.stack([cosine * mirror * aspect, -sine * flip, shift], 1),
            torch.stack([sine * mirror, cosine * flip / aspect, rise], 1),
        ],
        1,
    )
    images = torch.from_numpy(np.ascontiguousarray(pixels)).permute(0, 3, 1, 2).float()
    grid = F.affine_grid(matrix, [n, 3, size, size], align_corners=False)
    images = F.grid_sample(
        images / 127.5 - 1, grid, mode="bilinear", padding_mode="reflection", align_corners=False
    )
    mean = images.mean((1, 2, 3), keepdim=True)
    tint = torch.from_numpy(rng.uniform(-0.06, 0.06, (n, 3, 1, 1)).astype(np.float32))
    light = between(-0.15, 0.15).view(n, 1, 1, 1) + tint * (~chest).view(n, 1, 1, 1)
    return ((images - mean) * between(0.8, 1.25).view(n, 1, 1, 1) + mean + light).clamp(-1, 1)
