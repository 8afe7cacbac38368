"""The outside world as the core sees it: four small ports, in our own words."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from appliance.core.decision import Calibration
from appliance.core.entry import Entry
from appliance.core.labels import LabelSet


@dataclass(frozen=True)
class Picture:
    """A decoded, de-identified image at the size the model takes."""

    rgb: bytes
    """size x size x 3, row by row."""
    size: int
    sha256: str
    """Of the file's bytes."""
    kind: str
    """JPEG, PNG, TIFF or DICOM."""
    width: int
    """Of the original, in pixels."""
    height: int
    note: str | None
    """What a reader should know, for example that only the first frame was used."""


@dataclass(frozen=True)
class Reading:
    """What the model said of one picture."""

    text: str
    """The caption's JSON as generated."""
    label_scores: tuple[float, ...]
    """Natural log-probability of each label's tokens, in the release's order."""
    spent_s: Mapping[str, float] = field(default_factory=dict, compare=False)
    """Seconds by step: encode (the picture), prefill, decode."""
    memory_bytes: int = field(default=0, compare=False)
    """The most that the model's process has held so far; 0 where it is not known."""


@dataclass(frozen=True)
class ReleaseCard:
    """What a caption needs to know of the release that made it."""

    name: str
    sha256: str
    """Of release.json: it stands for every file of the release."""
    demonstration: bool
    labels: LabelSet
    calibration: Calibration
    image_size: int
    prompt_version: int


@dataclass(frozen=True)
class Passage:
    """A piece of a guideline, verbatim, and where it stands."""

    passage_id: str
    text: str
    document: str
    edition: str | None
    page: int | None
    """Physical page, from 1; None where the document has no pages."""
    section: str | None
    grade: str | None
    evidence: str | None
    score: float


class Images(Protocol):
    def open(self, path: str, size: int) -> Picture:
        """Raises: ImageError."""


class Captioner(Protocol):
    @property
    def release(self) -> ReleaseCard: ...

    def read(self, picture: Picture) -> Reading:
        """The same picture gives the same reading. Raises: ModelError, ReleaseError."""


class Guidelines(Protocol):
    def find(self, query: str, k: int) -> Sequence[Passage]:
        """Best first, at most `k`, none when nothing is relevant. Raises: GuidelineError."""


class AuditLog(Protocol):
    def append(self, kind: str, body: Mapping[str, Any]) -> Entry:
        """Committed when it returns. Raises: AuditError."""

    def image_mark(self, sha256: str) -> str:
        """The keyed hash by which this log alone knows an image."""
