"""The outside world as the core sees it: four small ports, in our own words."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from appliance.core.decision import Calibration
from appliance.core.entry import Entry
from appliance.core.gate import UNFITTED, Gate
from appliance.core.labels import LabelSet
from appliance.core.query import GuidelineQuery
from appliance.core.scope import Facts, Scope

CANCELLED = "model-cancelled"
"""Code of the ModelError of a reading that somebody stopped."""


@dataclass(frozen=True)
class Picture:
    """A decoded, de-identified image at the size the model takes."""

    rgb: bytes
    """size x size x 3, row by row."""
    size: int
    sha256: str
    """Of the file's bytes."""
    kind: str
    """JPEG, PNG, TIFF, WEBP, BMP or DICOM."""
    width: int
    """Of the original, in pixels."""
    height: int
    note: str | None
    """What a reader should know, for example that only the first frame was used."""
    facts: Facts | None = None
    """Of its tags, generalised; None for a picture without tags."""
    text_regions: int | None = None
    """Pieces of text found in the pixels; None where none were looked for."""
    measures: Mapping[str, float] = field(default_factory=dict)
    """Of core.gate.MEASURES; empty for a picture that did not come from a file."""


@dataclass(frozen=True)
class Reading:
    """What the model said of one picture."""

    text: str
    """The caption's JSON as generated."""
    label_scores: tuple[float, ...]
    """Natural log-probability of each label's tokens, in the release's order."""
    spent_s: Mapping[str, float] = field(default_factory=dict, compare=False)
    """Seconds by step: encode (the picture), prefill, score (the labels), decode. Empty when the
    reading was kept from an earlier one."""
    memory_bytes: int = field(default=0, compare=False)
    """The most that the model's process has held so far; 0 where it is not known."""
    crashes: int = field(default=0, compare=False)
    """How often the model's process died over this picture before it answered."""


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
    scope: Scope | None = None
    """What it was trained and measured on; None where release.json does not say."""
    gate: Gate = UNFITTED
    """Which pictures it can read at all."""


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
    publisher: str | None = None
    isbn: str | None = None
    page_label: str | None = None
    """The page number as printed."""
    last_page: int | None = None
    """The physical page on which it ends."""
    kind: str = "text"
    """recommendation, text, table, figure or reference."""
    grading: str | None = None
    """Whose grades these are: malaysian or grade."""
    language: str | None = None
    caution: str | None = None
    """What a reader must know first: superseded, overdue for review, or recognised in a scan."""


class Images(Protocol):
    def open(self, path: str, size: int) -> Picture:
        """Raises: ImageError."""


class Captioner(Protocol):
    @property
    def release(self) -> ReleaseCard: ...

    def features(self, picture: Picture) -> tuple[float, ...]:
        """What the vision tower makes of the picture as a whole: the mean of its soft tokens,
        (text width,). Raises: ModelError, ReleaseError."""

    def read(self, picture: Picture, *, anew: bool = False) -> Reading:
        """The same picture gives the same reading; with `anew` nothing kept of it is used.

        Raises: ModelError, ReleaseError.
        """


class Guidelines(Protocol):
    def find(self, query: GuidelineQuery, k: int) -> Sequence[Passage]:
        """Best first, at most `k`, none when nothing is relevant. Raises: GuidelineError."""

    def holding(self, sentence: str) -> Sequence[Passage]:
        """Every passage that holds it word for word. Raises: GuidelineError."""


class AuditLog(Protocol):
    def append(self, kind: str, body: Mapping[str, Any]) -> Entry:
        """Committed when it returns. Raises: AuditError."""

    def image_mark(self, sha256: str) -> str:
        """The keyed hash by which this log alone knows an image."""
