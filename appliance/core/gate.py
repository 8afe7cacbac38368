"""The gate: is this a picture that the release can read at all?

Two questions. Before the vision encoder: do simple measures lie where those of every picture that
the release was made with lie? After it: is what the encoder makes of the picture near to what it
made of training pictures? The second is the Mahalanobis distance to a Gaussian for each domain, of
the encoder's pooled features and the measures together (Lee et al. 2018, arXiv:1807.03888, there
for each class), with what the projection leaves out as one more coordinate (Wang et al. 2022,
arXiv:2203.10807). Fitted by `export release`; a release that was not fitted refuses blank pictures
only. Knows nothing of how a measure is taken.
"""

import base64
import math
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from operator import mul
from typing import Any, Literal

MEASURES = (
    "spread",
    "dark",
    "bright",
    "detail",
    "grain",
    "entropy",
    "one_shade",
    "lines",
    "colourless",
    "saturation",
    "red",
    "blue",
)
"""In the order in which a Gaussian takes them; edges.image_measures says what each is."""
BLANK_SPREAD = 8 / 255
"""A picture whose 5th and 95th brightness percentiles lie nearer together shows nothing."""
NOT_FITTED = "this release cannot tell whether a picture is of a kind that it knows"

Side = Literal["low", "high"]


@dataclass(frozen=True)
class Refusal:
    """Why a picture is not read, in words that follow "cannot read this image,"."""

    code: str
    reason: str
    hint: str


AGAIN = "take the picture again, in focus and in good light"
CHOOSE = "choose the picture of the skin, the retina or the chest itself"
BLANK = Refusal("image-blank", "it shows nothing (almost one colour)", AGAIN)
NOISE = Refusal(
    "image-noise",
    "it is mostly noise or fine lines",
    f"{CHOOSE}, not a page or a screen; or take it again in good light",
)
FEW_SHADES = Refusal("image-not-clinical", "it has too few shades for a photograph", CHOOSE)
CHECKS: tuple[tuple[Refusal, tuple[tuple[str, Side], ...]], ...] = (
    (
        Refusal("image-not-clinical", "it looks like text, a screen or a drawing", CHOOSE),
        (("detail", "high"), ("one_shade", "high")),
    ),
    (
        Refusal("image-exposure", "it is too dark", "take the picture again in better light"),
        (("dark", "high"),),
    ),
    (
        Refusal("image-exposure", "it is too bright", "take the picture again in less light"),
        (("bright", "high"),),
    ),
    (NOISE, (("grain", "high"),)),
    (NOISE, (("detail", "high"),)),
    (Refusal("image-blurred", "it is blurred", AGAIN), (("detail", "low"),)),
    (Refusal("image-exposure", "it has almost no contrast", AGAIN), (("spread", "low"),)),
    (FEW_SHADES, (("entropy", "low"),)),
    (FEW_SHADES, (("one_shade", "high"),)),
)
"""In this order; a picture is refused when all measures of a check are beyond their limits."""
UNFAMILIAR = Refusal(
    "image-unfamiliar",
    "it is unlike every kind of picture that this release knows",
    f"{CHOOSE}; if it is, take it again in focus, from nearer, with nothing in front of it",
)


@dataclass(frozen=True)
class Group:
    """The training pictures of one domain, as a Gaussian in the projected space."""

    centre: tuple[float, ...]
    factor: tuple[tuple[float, ...], ...]
    """Rows of a lower triangle: the inverse of the covariance's Cholesky factor."""
    usual: float
    """A picture farther than this from the centre is read, and said to be unusual."""
    farthest: float
    """One farther than this is not read."""


@dataclass(frozen=True)
class Familiarity:
    mean: tuple[float, ...]
    """Of the features, then MEASURES."""
    scale: tuple[float, ...]
    """What each is divided by."""
    axes: tuple[tuple[float, ...], ...]
    """Orthonormal rows that the scaled values are projected on."""
    groups: Mapping[str, Group]
    """By domain."""


@dataclass(frozen=True)
class Gate:
    limits: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    """Least and greatest value of a measure that is usual."""
    familiarity: Familiarity | None = None
    """None where the release was not fitted."""


UNFITTED = Gate()


def refusal(gate: Gate, measures: Mapping[str, float]) -> Refusal | None:
    """By the measures alone, before the picture is encoded."""
    if measures["spread"] < BLANK_SPREAD:
        return BLANK
    for found, beyond in CHECKS:
        if all(_is_beyond(gate, measures, name, side) for name, side in beyond):
            return found
    return None


def _is_beyond(gate: Gate, measures: Mapping[str, float], name: str, side: Side) -> bool:
    if name not in gate.limits:
        return False
    least, greatest = gate.limits[name]
    return measures[name] < least if side == "low" else measures[name] > greatest


def unfamiliar(
    familiarity: Familiarity, features: Sequence[float], measures: Mapping[str, float]
) -> Refusal | str | None:
    """By what the encoder made of it: a refusal, a sentence on how it is unusual, or None.

    `features`: (text width,), as `Captioner.features` gives them.
    """
    place = coordinates(familiarity, features, measures)
    found = {name: distance(group, place) for name, group in familiarity.groups.items()}
    nearest = min(found, key=lambda name: found[name] / familiarity.groups[name].farthest)
    group = familiarity.groups[nearest]
    if found[nearest] > group.farthest:
        return UNFAMILIAR
    if found[nearest] > group.usual:
        return f"the picture looks unlike most {nearest} pictures this release was trained on"
    return None


def coordinates(
    familiarity: Familiarity, features: Sequence[float], measures: Mapping[str, float]
) -> list[float]:
    """Where the picture lies: along each axis, and how far off all of them."""
    values = [*features, *(measures[name] for name in MEASURES)]
    scaled = [
        (value - mean) / scale
        for value, mean, scale in zip(values, familiarity.mean, familiarity.scale, strict=True)
    ]
    along = [_dot(axis, scaled) for axis in familiarity.axes]
    off = _dot(scaled, scaled) - _dot(along, along)
    return [*along, math.sqrt(max(0.0, off))]


def distance(group: Group, place: Sequence[float]) -> float:
    """Mahalanobis, from the group's centre."""
    away = [value - centre for value, centre in zip(place, group.centre, strict=True)]
    return math.hypot(*(_dot(row, away[: len(row)]) for row in group.factor))


def _dot(one: Sequence[float], other: Sequence[float]) -> float:
    total: float = sum(map(mul, one, other))
    return total


def read_gate(said: Mapping[str, Any] | None) -> Gate:
    """As written in release.json: many numbers stand as base64 of IEEE 754 half precision, little
    end first. Raises: ValueError, KeyError, TypeError."""
    if said is None:
        return UNFITTED
    limits = {name: (float(low), float(high)) for name, (low, high) in said["limits"].items()}
    if unknown := sorted(set(limits) - set(MEASURES)):
        raise ValueError(f"the gate has limits of unknown measures: {', '.join(unknown)}")
    if not all(low <= high for low, high in limits.values()):
        raise ValueError("the gate's limits are out of range")
    if tuple(said["measures"]) != MEASURES:
        raise ValueError("the gate was fitted with other measures than this appliance takes")
    mean, scale = unpack(said["mean"]), unpack(said["scale"])
    axes, width = unpack(said["axes"]), len(mean)
    count = len(axes) // max(width, 1) + 1
    groups = {
        name: Group(
            centre=unpack(group["centre"]),
            factor=_triangle(unpack(group["factor"]), count),
            usual=float(group["usual"]),
            farthest=float(group["farthest"]),
        )
        for name, group in said["groups"].items()
    }
    if not (
        len(scale) == width > len(MEASURES)
        and len(axes) == (count - 1) * width > 0
        and all(value > 0 for value in scale)
        and groups
        and all(len(group.centre) == count for group in groups.values())
        and all(0 < group.usual <= group.farthest < math.inf for group in groups.values())
    ):
        raise ValueError("the gate's numbers do not fit together")
    rows = tuple(axes[start : start + width] for start in range(0, len(axes), width))
    return Gate(limits, Familiarity(mean, scale, rows, groups))


def unpack(text: str) -> tuple[float, ...]:
    """Raises: ValueError for what is not base64 of finite half-precision numbers."""
    packed = base64.b64decode(text, validate=True)
    if len(packed) % 2:
        raise ValueError("the gate's numbers are cut short")
    values = struct.unpack(f"<{len(packed) // 2}e", packed)
    if not all(map(math.isfinite, values)):
        raise ValueError("the gate holds what is no number")
    return values


def pack(values: Sequence[float]) -> str:
    """Raises: OverflowError beyond 65,504."""
    return base64.b64encode(struct.pack(f"<{len(values)}e", *values)).decode("ascii")


def _triangle(values: Sequence[float], count: int) -> tuple[tuple[float, ...], ...]:
    if len(values) != count * (count + 1) // 2:
        raise ValueError("the gate's numbers do not fit together")
    starts = [row * (row + 1) // 2 for row in range(count)]
    return tuple(tuple(values[start : start + row + 1]) for row, start in enumerate(starts))
