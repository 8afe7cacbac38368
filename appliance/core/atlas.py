"""The atlas: reference pictures with a known label, found by likeness. Teaching material.

Pictures and words lie in one space, so that either finds cases, and words may be added to a query
and taken from it, as MIRAGE does (arXiv:2605.04772, section 2). What is found stands apart from a
patient's result: it says which cases look alike, not what this one is. Knows vectors; knows no
encoder and no index.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from appliance.core.caption import Caption
from appliance.core.gate import Gate, Refusal, refusal, unfamiliar
from appliance.core.labels import Domain
from appliance.core.ports import Picture
from appliance.errors import AtlasError, ImageError

TEACHING = "TEACHING MATERIAL - reference cases, not a finding about this patient"
NEIGHBOURS = 5
"""Cases looked at for the alarm, and shown unless another number is asked for."""
LEAST_AGREEING = 3
"""Of NEIGHBOURS; where fewer share the caption's label, the consultation says so."""
LEAST_SAYING = 2
"""Cases that must state a finding before a description repeats it."""

Vector = Sequence[float]


@dataclass(frozen=True)
class Source:
    """Where cases come from, and on what terms."""

    name: str
    title: str
    attribution: str
    licence: str


@dataclass(frozen=True)
class AtlasCase:
    """One reference picture. Nothing in it is of a patient of this clinic."""

    case_id: str
    """The first 16 hex digits of the SHA-256 of the picture's file."""
    label: str
    """Verified by the source, not by a model."""
    domain: Domain
    findings: str
    """Phrases with commas between them."""
    caption: str
    source: Source
    row: str
    """Which picture of the source it is."""
    picture: bytes | None
    """A small JPEG; None where the licence lets nobody pass the picture on."""


@dataclass(frozen=True)
class Neighbour:
    case: AtlasCase
    cosine: float
    """Of its vector with the query's; 1 is the same direction."""


@dataclass(frozen=True)
class Contrast:
    """A query, and the same query changed, each with what it finds."""

    original: tuple[Neighbour, ...]
    changed: tuple[Neighbour, ...]


@dataclass(frozen=True)
class Statement:
    """A finding that nearest cases state, and which of them do."""

    text: str
    case_ids: tuple[str, ...]


@dataclass(frozen=True)
class Description:
    """What the cases nearest to a picture have in common, and what a second search with it finds.

    Nothing is composed: every statement is a phrase of the cases it names.
    """

    first: tuple[Neighbour, ...]
    label: str
    """Of most of the nearest cases."""
    agreeing: int
    """How many of them have it."""
    statements: tuple[Statement, ...]
    text: str
    """What the second search adds to the picture."""
    second: tuple[Neighbour, ...]


@dataclass(frozen=True)
class AtlasCard:
    """What an atlas says of itself."""

    name: str
    sha256: str
    """Of atlas.json: it stands for every file of the atlas."""
    cases: int
    cases_by_label: dict[str, int]
    sources: tuple[Source, ...]
    image_size: int
    """Side in pixels of the pictures that its encoder takes."""
    least_cosine: float
    """A picture with no case this near has nothing like it in the atlas."""


@dataclass(frozen=True)
class TowerId:
    """Which encoder made the vectors: vectors of another mean nothing beside them."""

    kind: str
    """release: a release's own vision tower; folder: a CLIP-type pair of encoders."""
    name: str
    sha256: str
    """Of the release's projector, which holds its vision tower; or of the folder's files."""
    text_sha256: str
    """The identity of the text encoder."""
    image_size: int
    """Side in pixels of the pictures it takes."""


class Towers(Protocol):
    """A picture encoder and a text encoder, each with features of its own."""

    @property
    def identity(self) -> TowerId: ...

    def picture_features(self, picture: Picture) -> Vector:
        """Raises: ModelError, ReleaseError."""

    def text_features(self, text: str) -> Vector: ...

    def refusal(self, picture: Picture, features: Vector) -> Refusal | None: ...


class Atlas(Protocol):
    """All may raise AtlasError."""

    @property
    def card(self) -> AtlasCard: ...

    def features(self, picture: Picture) -> Vector:
        """What the encoder makes of a picture. Raises: ModelError, ReleaseError."""

    def refusal(self, picture: Picture, features: Vector) -> Refusal | None:
        """Why this picture has no place in the atlas's space, if so."""

    def of_features(self, features: Vector) -> Vector:
        """The unit vector of a picture with these features."""

    def of_text(self, text: str) -> Vector:
        """The unit vector of a text."""

    def nearest(self, vector: Vector, k: int) -> tuple[Neighbour, ...]:
        """Nearest first, at most `k`."""


def caption_text(caption: Caption) -> str:
    """A caption as the text encoder is given it, and as a case shows it."""
    return (
        f"{caption.label}. {caption.image_type}, {caption.anatomical_region}. "
        f"{caption.key_findings}. {caption.clinical_significance}."
    )


def similar(
    atlas: Atlas, picture: Picture, k: int, *, let_through: bool = False
) -> tuple[Neighbour, ...]:
    """The cases that look like the picture; none where none does.

    `let_through`: by the gate of a consultation, which is not asked again. Raises: ImageError for
    a picture that cannot be read, AtlasError, ModelError, ReleaseError.
    """
    return _like(atlas, _picture_vector(atlas, picture, let_through), k)


def find(atlas: Atlas, text: str, k: int) -> tuple[Neighbour, ...]:
    """The cases that fit the words. Raises: AtlasError."""
    return atlas.nearest(atlas.of_text(text), k)


def contrast(
    atlas: Atlas, text: str, plus: Sequence[str], minus: Sequence[str], k: int
) -> Contrast:
    """What the words find, and what they find with `plus` added and `minus` taken away.

    Raises: AtlasError, also when nothing is left.
    """
    asked = atlas.of_text(text)
    changed = moved(asked, [atlas.of_text(t) for t in plus], [atlas.of_text(t) for t in minus])
    return Contrast(atlas.nearest(asked, k), atlas.nearest(changed, k))


def describe(
    atlas: Atlas, picture: Picture, k: int, *, let_through: bool = False
) -> Description | None:
    """What the nearest cases have in common, and a second search with it; None where no case is
    near. `let_through` and raises: as `similar`."""
    seen = _picture_vector(atlas, picture, let_through)
    first = _like(atlas, seen, k)
    if not first:
        return None
    label, agreeing = majority(first)
    statements = common_statements(first)
    text = ". ".join(
        [label, *([", ".join(each.text for each in statements)] if statements else [])]
    )
    second = atlas.nearest(moved(seen, [atlas.of_text(text)], []), k)
    return Description(first, label, agreeing, statements, text, second)


def moved(vector: Vector, plus: Sequence[Vector], minus: Sequence[Vector]) -> list[float]:
    """`vector` with others added and taken away, at length one again: norm(q + add - sub).

    Raises: AtlasError when nothing is left of it.
    """
    changed = [
        own + sum(each[place] for each in plus) - sum(each[place] for each in minus)
        for place, own in enumerate(vector)
    ]
    length = math.hypot(*changed)
    if length < 1e-6:
        raise AtlasError(
            "nothing is left of the query when that is taken away", "take something else away"
        )
    return [value / length for value in changed]


def majority(neighbours: Sequence[Neighbour]) -> tuple[str, int]:
    """The label that most have, the nearest one's in a tie, and how many have it."""
    return Counter(neighbour.case.label for neighbour in neighbours).most_common(1)[0]


def common_statements(neighbours: Sequence[Neighbour]) -> tuple[Statement, ...]:
    """Findings that at least LEAST_SAYING of the cases state, the most frequent first."""
    saying: dict[str, list[str]] = {}
    for neighbour in neighbours:
        for phrase in dict.fromkeys(map(str.strip, neighbour.case.findings.split(","))):
            if phrase:
                saying.setdefault(phrase, []).append(neighbour.case.case_id)
    said = [Statement(text, tuple(ids)) for text, ids in saying.items() if len(ids) >= LEAST_SAYING]
    return tuple(sorted(said, key=lambda statement: -len(statement.case_ids)))


def inconsistency(label: str, neighbours: Sequence[Neighbour]) -> str | None:
    """A warning where the nearest cases disagree with each other or with the caption's `label`;
    None where they bear it out, or where there are none."""
    if not neighbours:
        return None
    counts = Counter(neighbour.case.label for neighbour in neighbours)
    wanted = math.ceil(len(neighbours) * LEAST_AGREEING / NEIGHBOURS)
    if counts[label] >= wanted:
        return None
    listed = ", ".join(f"{count} {name}" for name, count in counts.most_common())
    most = counts.most_common(1)[0][1]
    whom = "the caption" if most >= wanted else "each other"
    return f"the nearest reference cases disagree with {whom}: {listed}"


def neighbour_json(neighbour: Neighbour) -> dict[str, Any]:
    """As commands and kept cases give it: without the picture's bytes; whether there is one is
    said."""
    row = asdict(neighbour.case)
    return {**row, "picture": row["picture"] is not None, "cosine": neighbour.cosine}


def refusal_of(gate: Gate, picture: Picture, features: Vector | None) -> Refusal | None:
    """By a release's gate; without `features` by the measures alone."""
    found = refusal(gate, picture.measures)
    if found is None and features is not None and gate.familiarity is not None:
        strange = unfamiliar(gate.familiarity, features, picture.measures)
        found = strange if isinstance(strange, Refusal) else None
    return found


def _picture_vector(atlas: Atlas, picture: Picture, let_through: bool) -> Vector:
    features = atlas.features(picture)
    found = None if let_through else atlas.refusal(picture, features)
    if found is not None:
        raise ImageError(
            f"no case can be like this image, {found.reason}", found.hint, code=found.code
        )
    return atlas.of_features(features)


def _like(atlas: Atlas, vector: Vector, k: int) -> tuple[Neighbour, ...]:
    found = atlas.nearest(vector, k)
    return found if found and found[0].cosine >= atlas.card.least_cosine else ()
