"""Answers of a release to single pictures, kept as they are made, so that a measurement that was
stopped goes on where it was. One JSON Lines file for each model, vision encoder, prompt and label
list; a picture is known in it by its hash alone."""

import contextlib
import hashlib
import json
import math
import os
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from appliance.core.ports import Reading
from appliance.errors import ConfigError
from appliance.release.manifest import Release


@dataclass(frozen=True)
class KeptAnswer:
    text: str
    label_scores: tuple[float, ...]


class KeptAnswers:
    """The file of one release with one vision encoder, open for adding."""

    def __init__(self, folder: Path, release: Release, encoder: str) -> None:
        """Raises: ConfigError when the file cannot be opened."""
        self._labels = len(release.card.labels)
        self.path = folder / f"{_identity(release, encoder)}.jsonl"
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        except OSError as exc:
            raise ConfigError(
                f"the answers cannot be kept ({exc.strerror}): {self.path}",
                "check the folder's permissions, or set APPLIANCE_HOME",
            ) from exc
        self._file = os.fdopen(descriptor, "r+b")
        self._answers = self._read()

    def get(self, sha256: str) -> KeptAnswer | None:
        """What was answered to the picture with this hash."""
        return self._answers.get(sha256)

    def add(self, sha256: str, reading: Reading) -> KeptAnswer:
        """On the disk when it returns. Raises: ConfigError."""
        answer = KeptAnswer(reading.text, reading.label_scores)
        line = {"image": sha256, "text": answer.text, "label_scores": answer.label_scores}
        try:
            self._file.write(json.dumps(line).encode() + b"\n")
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as exc:
            raise ConfigError(
                f"the answers cannot be kept ({exc.strerror}): {self.path}",
                "make room, then measure again: what was answered is not asked again",
            ) from exc
        self._answers[sha256] = answer
        return answer

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        with contextlib.suppress(OSError):  # what a full disk did not take was said already
            self._file.close()

    def _read(self) -> dict[str, KeptAnswer]:
        """A line cut by a kill, or otherwise not an answer, is asked again."""
        self._file.seek(0)
        answers = {}
        last = b"\n"
        for line in self._file:
            last = line
            with contextlib.suppress(ValueError, KeyError, TypeError):
                row = json.loads(line)
                answers[str(row["image"])] = self._answer(row)
        if not last.endswith(b"\n"):
            self._file.write(b"\n")
        return answers

    def _answer(self, row: dict[str, Any]) -> KeptAnswer:
        scores = tuple(float(score) for score in row["label_scores"])
        if len(scores) != self._labels or not all(map(math.isfinite, scores)):
            raise ValueError("not this release's scores")
        return KeptAnswer(str(row["text"]), scores)


def _identity(release: Release, encoder: str) -> str:
    """The same for every release that would answer the same, whatever it is called."""
    card = release.card
    answers = {
        "files": {name: file.sha256 for name, file in sorted(release.files.items())},
        "encoder": encoder,
        "prompt": release.manifest["prompt_version"],
        "labels": [(label.name, label.domain) for label in card.labels],
        "image_size": card.image_size,
    }
    return hashlib.sha256(json.dumps(answers).encode()).hexdigest()[:32]
