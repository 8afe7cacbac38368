"""Image files. Reads the bytes here, has them decoded in a child process that may die."""

import hashlib
import json
import os
import stat
import subprocess
import sys
from pathlib import Path

from appliance.core.ports import Picture
from appliance.errors import ImageError

MOST_BYTES = 512 << 20
"""A larger file is not read."""
WALL_S = 30
CHILD_ENVIRONMENT = ("PATH", "LANG", "LC_ALL", "SYSTEMROOT")

HINTS = {
    "image-unknown": "give a JPEG, PNG, TIFF or DICOM file",
    "image-too-large": "export the picture again at a smaller size",
    "image-compression": "export the picture uncompressed or as JPEG 2000",
    "image-no-pixels": "choose the file of the series that holds the picture",
}
DAMAGED_HINT = "copy the file again from where it was taken, or take the picture again"


class ImageFiles:
    """Pictures from the file system."""

    def open(self, path: str, size: int) -> Picture:
        """The picture, squashed to `size` x `size`. Raises: ImageError."""
        encoded = _read(Path(path))
        header, pixels = _decode(path, encoded, size)
        if "error" in header:
            code, reason = str(header["error"]), header["reason"]
            raise ImageError(
                f"cannot read this image, {reason}: {path}",
                HINTS.get(code, DAMAGED_HINT),
                code=code,
            )
        return Picture(
            rgb=pixels,
            size=size,
            sha256=hashlib.sha256(encoded).hexdigest(),
            kind=str(header["kind"]),
            width=int(str(header["width"])),
            height=int(str(header["height"])),
            note=str(header["note"]) if header["note"] else None,
        )


def _read(path: Path) -> bytes:
    try:
        # Not blocking: a named pipe must not hold the worklist up.
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    except FileNotFoundError as exc:
        raise ImageError(f"no such image: {path}", "check the path", code="image-missing") from exc
    except OSError as exc:
        raise ImageError(
            f"the image cannot be opened ({exc.strerror}): {path}",
            "check the file's permissions, or copy it to a folder of your own",
            code="image-no-access",
        ) from exc
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            kind = "folder" if stat.S_ISDIR(status.st_mode) else "device or pipe"
            raise ImageError(
                f"not an image file but a {kind}: {path}",
                "give the path of one image file",
                code="image-not-a-file",
            )
        if status.st_size > MOST_BYTES:
            raise ImageError(
                f"the file has {status.st_size:,} bytes, more than {MOST_BYTES:,}: {path}",
                HINTS["image-too-large"],
                code="image-too-large",
            )
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            return file.read()
    except OSError as exc:  # bad media, a share that went away
        raise ImageError(
            f"the image cannot be read ({exc.strerror}): {path}",
            "copy it to this machine first, or try the original again",
            code="image-no-access",
        ) from exc
    finally:
        os.close(descriptor)


def _decode(path: str, encoded: bytes, size: int) -> tuple[dict[str, object], bytes]:
    command = [sys.executable, "-I", "-m", "appliance.edges.image_child", str(size)]
    environment = {name: os.environ[name] for name in CHILD_ENVIRONMENT if name in os.environ}
    try:
        child = subprocess.run(
            command,
            input=encoded,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=WALL_S,
            env=environment,
            check=False,
        )
    except subprocess.TimeoutExpired as exc:
        raise ImageError(
            f"reading the image took longer than {WALL_S} s: {path}",
            DAMAGED_HINT,
            code="image-timeout",
        ) from exc
    header, _, pixels = child.stdout.partition(b"\n")
    failed = child.returncode != 0 or not header
    if failed or (b'"error"' not in header and len(pixels) != size * size * 3):
        raise ImageError(
            f"the image stopped its reader (exit {child.returncode}): {path}",
            DAMAGED_HINT,
            code="image-damaged",
        )
    value: dict[str, object] = json.loads(header)
    return value, pixels
