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
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from appliance.core.ports import Picture, Reading, ReleaseCard
from appliance.errors import ModelError, ReleaseError
from appliance.release.manifest import Release, verify

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

LOAD_S = 300
READ_S = 600
"""Longest wait for one picture: MedGemma 4B takes about a minute on two cores."""
CHILD_ENVIRONMENT = ("PATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "CUDA_VISIBLE_DEVICES")


class LlamaCaptioner:
    """Reads pictures with one release."""

    def __init__(self, release: Release, threads: int) -> None:
        self._release = release
        self._threads = threads
        self._child: subprocess.Popen[bytes] | None = None
        self._one_at_a_time = threading.Lock()

    @property
    def release(self) -> ReleaseCard:
        return self._release.card

    def read(self, picture: Picture) -> Reading:
        """Raises: ModelError for this picture, ReleaseError when the release cannot be used."""
        answer = self._ask("read", picture)
        return Reading(
            answer["text"],
            tuple(answer["label_scores"]),
            answer["spent_s"],
            answer["memory_bytes"],
        )

    def embed(self, picture: Picture) -> "NDArray[np.float32]":
        """The picture's soft tokens, (image tokens, text width), as the decoder is given them.

        Raises: ModelError for this picture, ReleaseError when the release cannot be used.
        """
        import numpy as np  # a caption needs none here

        answer = self._ask("embed", picture)
        values = np.frombuffer(base64.b64decode(answer["embedding"]), np.float32)
        return values.reshape(-1, answer["columns"])

    def _ask(self, what: str, picture: Picture) -> dict[str, Any]:
        with self._one_at_a_time:
            try:
                return self._asked(what, picture)
            except (ModelError, ReleaseError):
                raise
            except BaseException:
                self.close()  # an answer still on its way would be taken for the next picture's
                raise

    def _asked(self, what: str, picture: Picture) -> dict[str, Any]:
        child = self._child or self._start()
        request = {"ask": what, "rgb_bytes": len(picture.rgb)}
        self._send(child, json.dumps(request).encode() + b"\n")
        self._send(child, picture.rgb)
        answer = self._answer(child, READ_S)
        if answer is None:
            raise ModelError(
                "the model's process stopped while reading this picture",
                "try again; if it stops again, run `appliance release verify`",
                code="model-crash",
            )
        if "error" in answer:
            raise ModelError(
                f"the model failed: {answer['error']}",
                "try again; if it fails again, run `appliance release verify`",
            )
        return answer

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

    def _start(self) -> subprocess.Popen[bytes]:
        verify(self._release)
        child = subprocess.Popen(
            [sys.executable, "-I", "-m", "appliance.edges.llama_child"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={name: os.environ[name] for name in CHILD_ENVIRONMENT if name in os.environ}
            | {"OMP_WAIT_POLICY": "passive"},  # spinning threads starve two captions at once
            start_new_session=True,  # Ctrl+C is the parent's to handle
        )
        self._child = child
        card = self._release.card
        load = {
            "model": str(self._release.model.resolve()),
            "projector": str(self._release.projector.resolve()),
            "labels": [(label.name, label.domain) for label in card.labels],
            "image_size": card.image_size,
            "prompt_version": card.prompt_version,
            "threads": self._threads,
        }
        self._send(child, json.dumps(load).encode() + b"\n")
        answer = self._answer(child, LOAD_S)
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
        """The next line, or None when the child died or was killed for taking too long."""
        assert child.stdout is not None
        timer = threading.Timer(wait_s, child.kill)
        timer.daemon = True  # an interrupt before it is cancelled must not hold the exit up
        try:
            timer.start()
            line = child.stdout.readline()
        finally:
            timer.cancel()
        if not line.endswith(b"\n"):
            self.close()
            return None
        answer: dict[str, Any] = json.loads(line)
        return answer
