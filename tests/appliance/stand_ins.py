"""Stand-ins for our own ports, for what the real things cannot be made to do on demand."""

from collections.abc import Mapping, Sequence
from typing import Any

from appliance.core.caption import Caption, caption_json
from appliance.core.consult import Ports
from appliance.core.decision import RISK, Calibration
from appliance.core.entry import Entry, Moment, entry_text, read_entry
from appliance.core.gate import MEASURES
from appliance.core.labels import DOMAINS, Label, LabelSet
from appliance.core.ports import Guidelines, Passage, Picture, Reading, ReleaseCard
from appliance.core.query import GuidelineQuery
from appliance.errors import ApplianceError, AuditError

LABELS = LabelSet(
    (
        Label("melanoma", "skin"),
        Label("melanocytic nevus", "skin"),
        Label("normal fundus", "fundus"),
        Label("normal chest", "chest"),
    )
)
CAPTION = Caption(
    "melanoma", "dermoscopy", "skin lesion", "irregular border", "urgent referral for excision"
)
SURE_SCORES = (-0.1, -3.0, -9.0, -9.0)
CARD = ReleaseCard(
    name="stand-in",
    sha256="ab" * 32,
    demonstration=True,
    labels=LABELS,
    calibration=Calibration(
        dict.fromkeys(DOMAINS, 1.0), {domain: {RISK: 0.2, 0.01: 0.01} for domain in DOMAINS}
    ),
    image_size=4,
    prompt_version=1,
)
SPECKLED = bytes(range(0, 240, 5))
"""4 x 4 RGB with contrast."""
MEASURED = dict.fromkeys(MEASURES, 0.5)


class OneImage:
    """Opens any path to the same picture, or fails with the error given."""

    def __init__(
        self,
        rgb: bytes = SPECKLED,
        error: ApplianceError | None = None,
        measures: Mapping[str, float] = MEASURED,
    ) -> None:
        self.rgb, self.error, self.measures = rgb, error, measures

    def open(self, path: str, size: int) -> Picture:
        if self.error:
            raise self.error
        return Picture(self.rgb, size, "cd" * 32, "PNG", 40, 30, None, measures=self.measures)


class OneReading:
    """A captioner that always says the same."""

    release = CARD

    def __init__(
        self, text: str = caption_json(CAPTION), scores: Sequence[float] = SURE_SCORES
    ) -> None:
        self.reading = Reading(text, tuple(scores))

    def features(self, picture: Picture) -> tuple[float, ...]:
        return (0.25, -0.5)

    def read(self, picture: Picture, *, anew: bool = False) -> Reading:
        return self.reading


class Shelf:
    """Guidelines that remember the queries and answer each with passages named after it; and the
    sentences, which none of them holds."""

    def __init__(self) -> None:
        self.queries: list[str] = []
        self.sentences: list[str] = []

    def find(self, query: GuidelineQuery, k: int) -> Sequence[Passage]:
        self.queries.append(query.text)
        name = query.text.partition(":")[0]
        return [
            Passage(f"{name}-{i}", "text", "Guide", None, 1, None, "A", None, 1 / (i + 1))
            for i in range(k)
        ]

    def holding(self, sentence: str) -> Sequence[Passage]:
        self.sentences.append(sentence)
        return []


class MemoryLog:
    """A log in memory; refuses the entry numbered `full_at`."""

    def __init__(self, full_at: int | None = None) -> None:
        self.entries: list[Entry] = []
        self.full_at = full_at

    def append(self, kind: str, body: Mapping[str, Any]) -> Entry:
        if len(self.entries) + 1 == self.full_at:
            raise AuditError("the audit log cannot be written", "free disk space")
        moment = Moment("2026-01-02T03:04:05.000+00:00", "boot", 0)
        text = entry_text(len(self.entries) + 1, moment, "run", "", kind, body)
        self.entries.append(read_entry(text))
        return self.entries[-1]

    def image_mark(self, sha256: str) -> str:
        return "marked " + sha256[:4]


def ports(
    *,
    images: OneImage | None = None,
    captioner: OneReading | None = None,
    guidelines: Guidelines | None = None,
    audit: MemoryLog | None = None,
) -> Ports:
    ticks = iter(range(1000))
    return Ports(
        images=images or OneImage(),
        captioner=captioner or OneReading(),
        guidelines=guidelines,
        audit=audit or MemoryLog(),
        clock_s=lambda: float(next(ticks)),
        risk=RISK,
    )
