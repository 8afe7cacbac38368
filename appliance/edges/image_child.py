"""Decodes one untrusted image, in a process of its own with limits and without a network.

    image_child.main(["SIZE", "off" | "report" | "mask"]) < FILE

writes a JSON line, then SIZE x SIZE x 3 bytes. Content decides the type, never the name. The
picture is squashed to a square, bilinear, as the model was trained. Only pixels leave, and of a
DICOM's tags the facts of core/scope: no tag, name or comment. The limits are set before a byte is
parsed.
"""

import json
import os
import resource
import sys
import warnings
from types import ModuleType
from typing import TYPE_CHECKING, Any, cast

from appliance.edges.image_measures import measure
from appliance.edges.no_network import forbid_network
from appliance.edges.picture_kinds import is_dicom
from appliance.edges.refusal import Refused

if TYPE_CHECKING:
    from PIL.Image import Image

MEMORY_BYTES = 2 << 30
CPU_S = 20


def main(arguments: list[str]) -> None:
    limit_process()
    size, burned_text = int(arguments[0]), arguments[1]
    # A native decoder may print on descriptor 1; the answer keeps that channel to itself.
    answer_to = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    pixels = b""
    try:
        image, header = decode(sys.stdin.buffer.read())
        header |= {"width": image.width, "height": image.height}
        if burned_text != "off":
            from appliance.edges.burned_text import find_text, paint_over

            regions = find_text(image)
            header["text_regions"] = len(regions)
            if burned_text == "mask":
                paint_over(image, regions)
        header["measures"] = measure(image)
        pixels = square(image, size)
    except Refused as exc:
        header = {"error": exc.code, "reason": str(exc)}
    except MemoryError:
        header = {"error": "image-too-large", "reason": "it needs too much memory"}
    with answer_to:
        answer_to.write(json.dumps(header).encode() + b"\n" + pixels)


def limit_process() -> None:
    """Bound memory and time, forbid writing files and the network."""
    os.environ["OPENBLAS_NUM_THREADS"] = "1"  # each thread would reserve address space
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_S, CPU_S + 1))  # told by SIGXCPU, then SIGKILL
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    forbid_network()


def decode(encoded: bytes) -> tuple["Image", dict[str, Any]]:
    """RGB; and kind, frames, and facts of the tags (None without tags). Raises: Refused."""
    warnings.simplefilter("ignore")
    if not encoded:
        raise Refused("image-empty", "the file is empty")
    try:
        return _decode(encoded)
    except (Refused, MemoryError):
        raise
    except Exception as exc:  # any other failure of a decoder means the file is damaged
        raise Refused("image-damaged", "it is damaged or cut short") from exc


def _decode(encoded: bytes) -> tuple["Image", dict[str, Any]]:
    if is_dicom(encoded):
        # pydicom is slow to import; this it would import, for a tenth of a second, to fetch its
        # samples from the network.
        sys.modules["requests"] = cast(ModuleType, None)
        from appliance.edges.dicom_facts import facts
        from appliance.edges.dicom_pixels import decode_dicom

        image, data, frames = decode_dicom(encoded)
        return image, {"kind": "DICOM", "frames": frames, "facts": facts(data)}
    from appliance.edges.picture_pixels import decode_picture

    image, kind, frames = decode_picture(encoded)
    return image, {"kind": kind, "frames": frames, "facts": None}


def square(image: "Image", size: int) -> bytes:
    from PIL import Image

    return image.resize((size, size), Image.Resampling.BILINEAR).tobytes()
