"""Image files. Reads the bytes here, has them decoded in a child process that may die."""

import contextlib
import hashlib
import importlib.util
import json
import os
import signal
import stat
import subprocess
import sys
import threading
from pathlib import Path
from typing import IO, Any

from appliance.core.gate import MEASURES
from appliance.core.ports import Picture
from appliance.core.scope import Facts
from appliance.edges.burned_text import PACKAGE as TEXT_FINDER
from appliance.errors import ConfigError, ImageError

MOST_BYTES = 512 << 20
"""A larger file is not read."""
MOST_HEADER_BYTES = 64 << 10
MOST_KEPT = 4
"""Opened pictures, in memory; 2.4 MB each with MedGemma."""
WALL_S = 30
CHILD_ENVIRONMENT = ("PATH", "LANG", "LC_ALL", "SYSTEMROOT")
CHILD = (
    "import sys; sys.path[:] = sys.argv[3:]; "
    "from appliance.edges.image_child import main; main(sys.argv[1:3])"
)
"""It imports from where this process does, told so as arguments: Python's own search for packages
(`site`) takes a third of the time that a small picture does."""
LIMITED_CHILD = (
    "import sys; sys.path[:] = sys.argv[1:]; "
    "from appliance.edges.image_child import limit_process; limit_process()\n"
)

HINTS = {
    "image-unknown": "give a JPEG, PNG, TIFF, WebP, BMP or DICOM file",
    "image-too-large": "export the picture again at a smaller size",
    "image-compression": "export the picture uncompressed or as JPEG 2000",
    "image-no-pixels": "choose the file of the series that holds the picture",
}
TAGGED_TEXT = "its tags say that text is burned into the picture"
PAINTED_OVER = "painted over"
DAMAGED_HINT = "copy the file again from where it was taken, or take the picture again"


class ImageFiles:
    """Pictures from the file system."""

    def __init__(self, burned_text: str = "off") -> None:
        """`burned_text` is what the setting `burned_in_text` says, one of config's CHOICES.

        Raises: ConfigError when text is to be found and the package for it is not installed.
        """
        if burned_text != "off" and importlib.util.find_spec(TEXT_FINDER) is None:
            raise ConfigError(
                f"text in pictures cannot be found, {TEXT_FINDER} is not installed",
                "install the appliance with its extra `ocr`, or set `burned_in_text` to off",
            )
        self._burned_text = burned_text
        self._last: dict[tuple[str, int], Picture] = {}
        self._keeping = threading.Lock()

    def open(self, path: str, size: int) -> Picture:
        """The picture, squashed to `size` x `size`; one of the last few, known by the hash of its
        whole file, is not decoded again. Raises: ImageError."""
        encoded = _read(Path(path))
        sha256 = hashlib.sha256(encoded).hexdigest()
        with self._keeping:
            picture = self._last.pop((sha256, size), None)
        picture = picture or self._decoded(encoded, sha256, path, size)
        with self._keeping:
            self._last[sha256, size] = picture  # the last to go
            while len(self._last) > MOST_KEPT:
                del self._last[next(iter(self._last))]
        return picture

    def decode(self, encoded: bytes, path: str, size: int) -> Picture:
        """As `open`, of a file's bytes; `path` is what an error names. Raises: ImageError."""
        return self._decoded(encoded, hashlib.sha256(encoded).hexdigest(), path, size)

    def _decoded(self, encoded: bytes, sha256: str, path: str, size: int) -> Picture:
        most_bytes = MOST_HEADER_BYTES + size * size * 3
        command, environment = child_command(size, self._burned_text)
        returncode, answer = run_child(command, environment, encoded, most_bytes)
        header, pixels = parse_answer(path, returncode, answer, size)
        if "error" in header:
            code, reason = str(header["error"]), header["reason"]
            raise ImageError(
                f"cannot read this image, {reason}: {path}",
                HINTS.get(code, DAMAGED_HINT),
                code=code,
            )
        try:
            facts = Facts(**header["facts"]) if header["facts"] else None
            return Picture(
                rgb=pixels,
                size=size,
                sha256=sha256,
                kind=str(header["kind"]),
                width=int(header["width"]),
                height=int(header["height"]),
                note=self._note(int(header["frames"]), facts, header.get("text_regions")),
                facts=facts,
                text_regions=header.get("text_regions"),
                measures={name: float(header["measures"][name]) for name in MEASURES},
            )
        except (ValueError, TypeError, KeyError) as exc:  # it is no longer our own child
            raise _stopped(path, "its answer makes no sense") from exc

    def _note(self, frames: int, facts: Facts | None, text_regions: int | None) -> str | None:
        notes = [f"only the first of {frames} frames was read"] if frames > 1 else []
        if facts and facts.text_burned_in:
            notes.append(TAGGED_TEXT)
        if text_regions is None:
            if facts and facts.modality in ("US", "IVUS") and facts.text_burned_in is None:
                notes.append("ultrasound pictures often have names burned into them")
        elif text_regions == 0:
            notes.append("no text was found in the picture")
        else:
            done = PAINTED_OVER if self._burned_text == "mask" else "found in the picture"
            pieces = "1 piece" if text_regions == 1 else f"{text_regions} pieces"
            notes.append(f"{pieces} of text {done}")
        return "; ".join(notes) or None


def may_show_text(note: str | None, text_regions: int | None) -> bool:
    """Whether the pixels of a picture with this note are known to bear text, so perhaps a name."""
    note = note or ""
    return PAINTED_OVER not in note and (bool(text_regions) or TAGGED_TEXT in note)


def _read(path: Path) -> bytes:
    try:
        _refuse_other_kinds(path, path.stat())  # before it is opened: to open a device may act
        # Not blocking: a named pipe put there meanwhile must not hold the worklist up.
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
        with os.fdopen(descriptor, "rb") as file:
            _refuse_other_kinds(path, os.fstat(descriptor))
            # At most so much: a file of the kernel's own says that it has none.
            encoded = file.read(MOST_BYTES + 1) or b""
    except FileNotFoundError as exc:
        raise ImageError(f"no such image: {path}", "check the path", code="image-missing") from exc
    except OSError as exc:  # no permission, bad media, a share that went away
        raise ImageError(
            f"the image cannot be opened ({exc.strerror}): {path}",
            "check the file's permissions, or copy it to a folder of your own",
            code="image-no-access",
        ) from exc
    if len(encoded) > MOST_BYTES:
        raise _too_large(path, f"more than {MOST_BYTES:,}")
    return encoded


def _refuse_other_kinds(path: Path, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        kind = "folder" if stat.S_ISDIR(status.st_mode) else "device or pipe"
        raise ImageError(
            f"not an image file but a {kind}: {path}",
            "give the path of one image file",
            code="image-not-a-file",
        )
    if status.st_size > MOST_BYTES:
        raise _too_large(path, f"{status.st_size:,}, of which {MOST_BYTES:,} are read at most")


def _too_large(path: Path, bytes_said: str) -> ImageError:
    return ImageError(
        f"the file is too large ({bytes_said} bytes): {path}",
        HINTS["image-too-large"],
        code="image-too-large",
    )


def child_command(size: int, burned_text: str) -> tuple[list[str], dict[str, str]]:
    """The decode child's command line and its environment, which tells it nothing of this one."""
    command = [sys.executable, "-I", "-S", "-c", CHILD, str(size), burned_text, *_search_path()]
    return command, _environment()


def limited_command(code: str) -> tuple[list[str], dict[str, str]]:
    """The same for a process that runs `code` under the decode child's limits, to try them."""
    command = [sys.executable, "-I", "-S", "-c", LIMITED_CHILD + code, *_search_path()]
    return command, _environment()


def _search_path() -> list[str]:
    package_root = str(Path(__file__).parents[2])
    return [package_root, *(entry for entry in sys.path if Path(entry).is_absolute())]


def _environment() -> dict[str, str]:
    return {name: os.environ[name] for name in CHILD_ENVIRONMENT if name in os.environ}


def run_child(
    command: list[str], environment: dict[str, str], encoded: bytes, most_bytes: int
) -> tuple[int | None, bytes]:
    """Exit code, None when it was stopped after WALL_S; and at most `most_bytes` of its answer, so
    that a child which a picture has taken over cannot fill this process."""
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environment,
        start_new_session=True,  # Ctrl+C is the parent's to handle
    ) as child:
        assert child.stdin is not None and child.stdout is not None
        late = threading.Event()
        timer = threading.Timer(WALL_S, _stop, args=(child, late))
        feeder = threading.Thread(target=_feed, args=(child.stdin, encoded), daemon=True)
        timer.start()
        feeder.start()
        try:
            answer = child.stdout.read(most_bytes)
            child.stdout.close()  # whatever it still writes fails
            child.wait()
        except BaseException:
            child.kill()
            raise
        finally:
            timer.cancel()
        feeder.join()
    return None if late.is_set() else child.returncode, answer


def parse_answer(
    path: str, returncode: int | None, answer: bytes, size: int
) -> tuple[dict[str, Any], bytes]:
    """Header and pixels, of what `run_child` gave back. Raises: ImageError."""
    if returncode is None or returncode == -signal.SIGXCPU:
        raise ImageError(
            f"reading the image took longer than {WALL_S} s: {path}",
            DAMAGED_HINT,
            code="image-timeout",
        )
    line, _, pixels = answer.partition(b"\n")
    try:
        header = json.loads(line)
        if returncode != 0 or not ("error" in header or len(pixels) == size * size * 3):
            raise ValueError
    except (ValueError, TypeError) as exc:
        raise _stopped(path, f"exit {returncode}") from exc
    return header, pixels


def _stop(child: "subprocess.Popen[bytes]", late: threading.Event) -> None:
    late.set()
    child.kill()


def _feed(stdin: IO[bytes], encoded: bytes) -> None:
    with contextlib.suppress(BrokenPipeError), stdin:  # it may refuse without reading all
        stdin.write(encoded)


def _stopped(path: str, how: str) -> ImageError:
    return ImageError(
        f"the image stopped its reader ({how}): {path}", DAMAGED_HINT, code="image-damaged"
    )
