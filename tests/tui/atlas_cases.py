"""A small atlas behind the port: cases that the project draws, vectors of three numbers.

A text lies where the word of a label that stands in it says, a picture where it is told to.
"""

import math
from collections.abc import Sequence

from appliance.core.atlas import AtlasCard, AtlasCase, Neighbour, Source, Vector
from appliance.core.gate import Refusal
from appliance.core.labels import Domain
from appliance.core.ports import Picture
from appliance.release.drawings import draw, png
from tests.tui.clinic import SIDE

DRAWN = Source("drawn", "Drawings of lesions", "The project", "CC0 1.0")
KEPT = Source("kept", "Photographs of a department", "Somebody and others, 2019", "no open licence")
FINDINGS = {
    "melanoma": ("irregular border, several colours", "blue veil, irregular border", "dark centre"),
    "melanocytic nevus": ("round, even colour", "even colour, light", "round, small"),
}
PLACES: dict[str, tuple[float, float, float]] = {
    "melanoma": (1.0, 0.0, 0.1),
    "melanocytic nevus": (0.0, 1.0, 0.1),
}
BETWEEN = (0.8, 0.6, 0.0)
"""Where a picture lies, unless it is told otherwise: nearer to a melanoma."""
ELSEWHERE = (0.0, 0.0, -1.0)
"""Where nothing of the atlas is near."""


class DrawnAtlas:
    """Every second case of the open source's with a picture, the first of them damaged if asked."""

    def __init__(
        self,
        place: Sequence[float] = BETWEEN,
        *,
        refused: Refusal | None = None,
        has_pictures: bool = True,
        is_damaged: bool = False,
    ) -> None:
        self._place, self._refused = tuple(place), refused
        self._cases = [
            _case(label, number, findings, has_pictures, is_damaged)
            for label, stated in FINDINGS.items()
            for number, findings in enumerate(stated)
        ]

    @property
    def card(self) -> AtlasCard:
        counts = {label: len(stated) for label, stated in FINDINGS.items()}
        return AtlasCard("drawn", "ef" * 32, sum(counts.values()), counts, (DRAWN, KEPT), SIDE, 0.5)

    def features(self, picture: Picture) -> Vector:
        return self._place

    def refusal(self, picture: Picture, features: Vector) -> Refusal | None:
        return self._refused

    def of_features(self, features: Vector) -> Vector:
        return features

    def of_text(self, text: str) -> Vector:
        found = [place for label, place in PLACES.items() if label in text]
        return _unit(found[0] if found else BETWEEN)

    def nearest(self, vector: Vector, k: int) -> tuple[Neighbour, ...]:
        found = [Neighbour(case, _likeness(case, vector)) for case in self._cases]
        return tuple(sorted(found, key=lambda each: -each.cosine)[:k])


def _case(
    label: str, number: int, findings: str, has_pictures: bool, is_damaged: bool
) -> AtlasCase:
    domain: Domain = "skin"
    source = KEPT if number == 1 else DRAWN
    picture = None
    if has_pictures and source is DRAWN:
        picture = png(draw(domain, number, SIDE))
        picture = picture[:60] if is_damaged and number == 0 else picture
    return AtlasCase(
        case_id=f"{number}{label.encode().hex()}"[:16],
        label=label,
        domain=domain,
        findings=findings,
        caption=f"{label}. dermoscopy, skin lesion. {findings}. refer where in doubt.",
        source=source,
        row=str(number + 11),
        picture=picture,
    )


def _likeness(case: AtlasCase, vector: Vector) -> float:
    x, y, z = PLACES[case.label]
    turned = _unit((x, y, z * int(case.row)))
    return round(sum(a * b for a, b in zip(turned, vector, strict=True)), 6)


def _unit(vector: Sequence[float]) -> tuple[float, ...]:
    length = math.hypot(*vector)
    return tuple(value / length for value in vector)
