"""The model, through a child process that may die: `Captioner` over llama.cpp.

The release is verified before the child is started; the child stays for the life of this object
and is started again after a crash.
"""

import base64
import json
import os
import subprocess
import sys
import threading
from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from appliance.core.ports import CANCELLED, Picture, Reading, ReleaseCard
from appliance.errors import ModelError, ReleaseError
from appliance.release.manifest import ENCODER_REPORT, Release, encoder_file, read_phrases, verify

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

LOAD_S = 300
READ_S = 600.0
"""Longest wait for one picture: MedGemma 4B takes about a minute on two cores."""
CHILD_ENVIRONMENT = ("PATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "CUDA_VISIBLE_DEVICES")


class LlamaCaptioner:
    """Reads pictures with one release."""

    def __init__(
        self,
        release: Release,
        threads: int,
        encoder: str = "",
        *,
        guess: bool = True,
        longest_s: float = READ_S,
    ) -> None:
        """`encoder` is one of `release.manifest.VISION_ENCODERS`, empty for the release's own.
        Without `guess` every token is decoded by itself: the same text, more slowly.

        Raises: ConfigError, ReleaseError when the release has no such encoder.
        """
        self._release = release
        self._threads = threads
        self._encoder = encoder_file(release, encoder)
        self._guess = guess
        self._longest_s = longest_s
        self._child: subprocess.Popen[bytes] | None = None
        self._one_at_a_time = threading.Lock()
        self._is_cancelled = False

    @property
    def release(self) -> ReleaseCard:
        return self._release.card

    def read(self, picture: Picture, *, anew: bool = False) -> Reading:
        """With `anew` nothing kept of the picture is used. A crash of the model's process is tried
        once more, and counted in the reading.

        Raises: ModelError for this picture, ReleaseError when the release cannot be used.
        """
        options = {"anew": anew, "guess": self._guess}
        answer, crashes = self._ask("read", picture, options)
        return Reading(
            answer["text"],
            tuple(answer["label_scores"]),
            answer["spent_s"],
            answer["memory_bytes"],
            crashes,
        )

    def features(self, picture: Picture) -> tuple[float, ...]:
        """The mean of the picture's soft tokens, (text width,). The picture is encoded once for
        this and for its reading, when they follow each other. Raises: as `read`."""
        answer, _ = self._ask("features", picture, {})
        return tuple(answer["features"])

    def embed(self, picture: Picture) -> "NDArray[np.float32]":
        """The picture's soft tokens, (image tokens, text width), as the decoder is given them.

        Raises: as `read`.
        """
        import numpy as np  # a caption needs none here

        answer, _ = self._ask("embed", picture, {})
        values = np.frombuffer(base64.b64decode(answer["embedding"]), np.float32)
        return values.reshape(-1, answer["columns"])

    def load(self) -> int:
        """Start the model's process without a picture; its number. Raises: ReleaseError, ModelError
        when it takes too long."""
        child = self._child or self._start()
        assert child is not None, "nobody cancels what was not begun"
        return child.pid

    def cancel(self) -> None:
        """From another thread: the reading in progress ends at once with a ModelError whose code
        is CANCELLED; the next one starts the model's process again."""
        if self._one_at_a_time.locked() and (child := self._child) is not None:
            self._is_cancelled = True
            child.kill()

    def _ask(
        self, what: str, picture: Picture, options: Mapping[str, Any]
    ) -> tuple[dict[str, Any], int]:
        """The answer, and how often the model's process crashed before it came."""
        request = {"ask": what, "rgb_bytes": len(picture.rgb), **options}
        with self._one_at_a_time:
            self._is_cancelled = False
            try:
                for crashes in (0, 1):
                    answer = self._asked(request, picture.rgb)
                    if answer is not None:
                        return _unless_failed(answer), crashes
                    if self._is_cancelled:
                        raise ModelError(
                            "the reading was cancelled", "start it again", code=CANCELLED
                        )
            except (ModelError, ReleaseError):
                raise
            except BaseException:
                self.close()  # an answer still on its way would be taken for the next picture's
                raise
        raise ModelError(
            "the model's process stopped twice while reading this picture",
            "try another picture; if that stops it too, run `appliance release verify`",
            code="model-crash",
        )

    def _asked(self, request: Mapping[str, Any], rgb: bytes) -> dict[str, Any] | None:
        """None when the model's process died. Raises: ModelError when it took too long."""
        child = self._child or self._start()
        if child is None:
            return None
        self._send(child, json.dumps(request).encode() + b"\n")
        self._send(child, rgb)
        return self._answer(child, self._longest_s)

    def close(self) -> None:
        if self._child is not None:
            self._child.kill()
            self._child.communicate()
            self._child = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.close()

    def _start(self) -> subprocess.Popen[bytes] | None:
        """None when it was cancelled while loading. Raises: ReleaseError, ModelError."""
        verify(self._release)
        child = subprocess.Popen(
            [sys.executable, "-I", "-m", "appliance.edges.llama_child"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={name: os.environ[name] for name in CHILD_ENVIRONMENT if name in os.environ},
            start_new_session=True,  # Ctrl+C is the parent's to handle
        )
        self._child = child
        card = self._release.card
        load = {
            "model": str(self._release.model.resolve()),
            "encoder": str(self._encoder.resolve()),
            "encoder_report": (
                None
                if self._encoder == self._release.projector
                else str((self._release.directory / ENCODER_REPORT).resolve())
            ),
            "labels": [(label.name, label.domain) for label in card.labels],
            "image_size": card.image_size,
            "prompt_version": card.prompt_version,
            "threads": self._threads,
            "captions": read_phrases(self._release) if self._guess else [],
        }
        self._send(child, json.dumps(load).encode() + b"\n")
        answer = self._answer(child, LOAD_S)
        if answer is None and self._is_cancelled:
            return None
        if answer is None or "error" in answer:
            self.close()
            problem = answer["error"] if answer else "its process stopped"
            raise ReleaseError(
                f"the release cannot be loaded ({problem}): {self._release.directory}",
                "choose another release, or copy this one again from where it came",
            )
        return child

    def _send(self, child: subprocess.Popen[bytes], message: bytes) -> None:
        """A child that is gone is noticed by the answer it does not give."""
        assert child.stdin is not None
        try:
            child.stdin.write(message)
            child.stdin.flush()
        except BrokenPipeError:
            pass

    def _answer(self, child: subprocess.Popen[bytes], wait_s: float) -> dict[str, Any] | None:
        """The next line, or None when the child died. Raises: ModelError when it was killed for
        taking too long."""
        assert child.stdout is not None
        is_late = threading.Event()

        def end() -> None:
            is_late.set()
            child.kill()

        timer = threading.Timer(wait_s, end)
        timer.daemon = True  # an interrupt before it is cancelled must not hold the exit up
        try:
            timer.start()
            line = child.stdout.readline()
        finally:
            timer.cancel()
        if line.endswith(b"\n"):
            answer: dict[str, Any] = json.loads(line)
            return answer
        self.close()
        if is_late.is_set():
            raise ModelError(
                f"the model took longer than {wait_s:g} s for this picture",
                "close other programs and try again, or use a smaller release",
                code="model-timeout",
            )
        return None


def _unless_failed(answer: dict[str, Any]) -> dict[str, Any]:
    """Raises: ModelError."""
    if "error" in answer:
        raise ModelError(
            f"the model failed: {answer['error']}",
            "try again; if it fails again, run `appliance release verify`",
        )
    return answer
