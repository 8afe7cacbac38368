"""Pixels of an ordinary picture file: JPEG, PNG, TIFF, WebP, BMP. Used in the decode child only.

Rules: the first frame; EXIF rotation applied once; 16-bit and float grey scaled from the least to
the greatest value; transparency laid on black; CMYK, Lab and palettes to RGB.
"""

import importlib
import io
from typing import Any

from PIL import Image, ImageOps, UnidentifiedImageError

from appliance.edges.picture_kinds import SIGNATURES
from appliance.edges.refusal import Refused, refuse_large, unknown

WHITE_IS_ZERO_TAG = 262
"""TIFF 6.0, section 8: PhotometricInterpretation, 0 where the least value is white."""
NEGATIVE = list(range(255, -1, -1))


def decode_picture(encoded: bytes) -> tuple[Image.Image, str, int]:
    """RGB, kind, frames in the file. Raises: Refused, and whatever Pillow makes of damage."""
    kind = _kind(encoded)
    Image.MAX_IMAGE_PIXELS = None  # checked below, as an error at any size
    try:
        image = Image.open(io.BytesIO(encoded), formats=(kind,))
    except UnidentifiedImageError as exc:
        raise Refused("image-damaged", f"it begins like a {kind} but is none, or damaged") from exc
    refuse_large(image.width * image.height)
    # A JPEG of many (MPO) is one photograph with its previews.
    frames = 1 if kind == "JPEG" else int(getattr(image, "n_frames", 1))
    ImageOps.exif_transpose(image, in_place=True)  # a large picture is not held twice
    if image.mode.startswith("I;16") and _is_white_zero(image):
        # Pillow turns 8-bit ones over itself
        return to_rgb(image).point(NEGATIVE * 3), kind, frames
    if image.mode == "CMYK" and kind == "JPEG" and "adobe" not in image.info:
        # Pillow takes every one for inverted; only Adobe's are.
        return to_rgb(image.point(NEGATIVE * 4)), kind, frames
    return to_rgb(image), kind, frames


def to_rgb(image: Image.Image) -> Image.Image:
    if image.mode in ("I", "F") or image.mode.startswith("I;"):
        import numpy as np  # 16-bit and float pictures are rare

        return grey(np.asarray(image))
    if image.mode == "LAB":
        from PIL import ImageCms

        lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
        found = ImageCms.profileToProfile(image, lab, srgb, outputMode="RGB")
        assert found is not None
        return found
    if image.has_transparency_data:
        layered = image.convert("RGBA")
        ground = Image.new("RGBA", layered.size, "black")
        return Image.alpha_composite(ground, layered).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")


def grey(values: Any, shown: tuple[float, float] | None = None) -> Image.Image:
    """Numbers, H x W, as a grey picture: the first of `shown` and less is black, the second and
    more is white. By default from the least to the greatest finite value."""
    import numpy as np

    values = np.asarray(values, np.float32)
    if shown is None:
        finite = values[np.isfinite(values)]
        shown = (float(finite.min()), float(finite.max())) if finite.size else (0, 0)
    span = (shown[1] - shown[0]) or 1
    scaled = np.nan_to_num((values - shown[0]) * (255 / span), nan=0, posinf=255, neginf=0)
    return Image.fromarray(np.rint(scaled.clip(0, 255)).astype(np.uint8)).convert("RGB")


def _kind(encoded: bytes) -> str:
    for offset, signature, kind, reader in SIGNATURES:
        if encoded.startswith(signature, offset):
            importlib.import_module(f"PIL.{reader}")
            return kind
    raise unknown()


def _is_white_zero(image: Image.Image) -> bool:
    return getattr(image, "tag_v2", {}).get(WHITE_IS_ZERO_TAG) == 0
