"""Decodes one untrusted image, in a process of its own with limits.

    python -m appliance.edges.image_child SIZE < FILE

writes a JSON line, then SIZE x SIZE x 3 bytes.

Content decides the type, never the name. Rules: the first frame only; EXIF rotation applied once;
16-bit and float grey scaled from its least to its greatest value; transparency laid on black;
CMYK and palettes to RGB; a DICOM through its own window (VOI LUT), MONOCHROME1 turned over. The
picture is squashed to a square, bilinear, as the model was trained. Only pixels leave: no tag,
name or comment. The limits are set before a byte is parsed.
"""

import io
import json
import os
import resource
import sys
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from PIL.Image import Image

MEMORY_BYTES = 2 << 30
CPU_S = 20
MOST_PIXELS = 100_000_000
FORMATS = ("JPEG", "PNG", "TIFF")
WHITE_IS_ZERO_TAG = 262
"""TIFF 6.0, section 8: PhotometricInterpretation, 0 where the least value is white."""


class Refused(Exception):
    """A picture that is not opened: a stable code and a reason in plain words."""

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(reason)
        self.code = code


@dataclass(frozen=True)
class Decoded:
    image: "Image"
    kind: str
    note: str | None


def main() -> None:
    limit_process()
    size = int(sys.argv[1])
    try:
        encoded = sys.stdin.buffer.read()
        decoded = decode(encoded)
        header: dict[str, Any] = {
            "kind": decoded.kind,
            "width": decoded.image.width,
            "height": decoded.image.height,
            "note": decoded.note,
        }
        pixels = square(decoded.image, size)
    except Refused as exc:
        header, pixels = {"error": exc.code, "reason": str(exc)}, b""
    except MemoryError:
        header, pixels = {"error": "image-too-large", "reason": "it needs too much memory"}, b""
    sys.stdout.buffer.write(json.dumps(header).encode() + b"\n" + pixels)


def limit_process() -> None:
    """Bound memory and time, forbid writing files."""
    os.environ["OPENBLAS_NUM_THREADS"] = "1"  # each thread would reserve address space
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_S, CPU_S))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def decode(encoded: bytes) -> Decoded:
    """Raises: Refused."""
    warnings.simplefilter("ignore")
    if not encoded:
        raise Refused("image-empty", "the file is empty")
    is_dicom = encoded[128:132] == b"DICM"
    try:
        return _decode_dicom(encoded) if is_dicom else _decode_picture(encoded)
    except (Refused, MemoryError):
        raise
    except Exception as exc:  # any other failure of a decoder means the file is damaged
        raise Refused("image-damaged", f"it is damaged ({type(exc).__name__})") from exc


def square(image: "Image", size: int) -> bytes:
    from PIL import Image

    return image.convert("RGB").resize((size, size), Image.Resampling.BILINEAR).tobytes()


def _decode_picture(encoded: bytes) -> Decoded:
    from PIL import Image, ImageChops, ImageOps, UnidentifiedImageError

    Image.MAX_IMAGE_PIXELS = None  # checked below, as an error at any size
    try:
        image = Image.open(io.BytesIO(encoded), formats=FORMATS)
    except UnidentifiedImageError as exc:
        raise Refused("image-unknown", "it is not a JPEG, PNG, TIFF or DICOM image") from exc
    _refuse_large(image.width * image.height)
    frames = int(getattr(image, "n_frames", 1))
    kind = image.format or "unknown"
    try:
        image.load()
    except OSError as exc:
        raise Refused("image-damaged", "it is damaged or cut short") from exc
    upright = ImageOps.exif_transpose(image)
    if image.mode.startswith("I;16") and getattr(image, "tag_v2", {}).get(WHITE_IS_ZERO_TAG) == 0:
        upright = ImageChops.invert(_to_rgb(upright))  # Pillow turns 8-bit ones over itself
    return Decoded(_to_rgb(upright), kind, _frames_note(frames))


def _to_rgb(image: "Image") -> "Image":
    from PIL import Image

    if image.mode in ("I", "F") or image.mode.startswith("I;"):
        import numpy as np  # 16-bit and float pictures are rare

        return _grey(np.asarray(image))
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        layered = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", layered.size, "black"), layered).convert(
            "RGB"
        )
    return image.convert("RGB")


def _grey(values: Any) -> "Image":
    """A grey picture from any numbers, least value black, greatest white."""
    import numpy as np
    from PIL import Image

    values = np.nan_to_num(np.asarray(values, np.float32))
    low, high = float(values.min()), float(values.max())
    scaled = (values - low) * (255 / (high - low) if high > low else 0)
    return Image.fromarray(np.rint(scaled).astype(np.uint8)).convert("RGB")


def _decode_dicom(encoded: bytes) -> Decoded:
    import pydicom
    from PIL import Image
    from pydicom.pixels.processing import apply_color_lut, apply_modality_lut, apply_voi_lut
    from pydicom.pixels.utils import pixel_array

    data = pydicom.dcmread(io.BytesIO(encoded), stop_before_pixels=True)
    rows, columns = int(data.get("Rows") or 0), int(data.get("Columns") or 0)
    if not rows or not columns:
        raise Refused("image-no-pixels", "this DICOM file holds no picture")
    frames = int(data.get("NumberOfFrames") or 1)
    _refuse_large(rows * columns)
    data = pydicom.dcmread(io.BytesIO(encoded))
    photometric = str(data.get("PhotometricInterpretation", ""))
    _refuse_compression(data.file_meta.TransferSyntaxUID)
    values = pixel_array(data, index=0)
    if photometric == "PALETTE COLOR":
        values = apply_color_lut(values, data)
    if values.ndim == 3:
        image = Image.fromarray((values >> (8 * (values.itemsize - 1))).astype("uint8"), "RGB")
    else:
        values = apply_voi_lut(apply_modality_lut(values, data), data)
        image = _grey(values.max() - values if photometric == "MONOCHROME1" else values)
    return Decoded(image, "DICOM", _frames_note(frames))


def _refuse_compression(syntax: Any) -> None:
    from pydicom.pixels.decoders.base import get_decoder

    if not syntax.is_compressed:
        return
    try:
        is_known = get_decoder(syntax).is_available
    except NotImplementedError:
        is_known = False
    if not is_known:
        raise Refused("image-compression", f"its compression is not supported ({syntax.name})")


def _refuse_large(pixels: int) -> None:
    if pixels > MOST_PIXELS:
        raise Refused(
            "image-too-large", f"it has {pixels:,} pixels, more than {MOST_PIXELS:,} are not opened"
        )


def _frames_note(frames: int) -> str | None:
    return f"only the first of {frames} frames was read" if frames > 1 else None


if __name__ == "__main__":
    main()
