"""A small atlas of made-up cases, whose towers are counted letters and mean colours."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from appliance.core.atlas import Source, TowerId, Vector
from appliance.core.gate import Refusal
from appliance.core.ports import Picture
from appliance.release.atlas_files import (
    CASES,
    PICTURES,
    VECTORS,
    StoredCase,
    write_atlas_manifest,
)
from appliance.release.atlas_heads import HEADS, Head, Heads, case_vectors, write_heads

TOWER = TowerId("release", "letters", "aa" * 32, "bb" * 32, 4)
OPEN = Source("drawn", "Drawings", "nobody", "CC0")
CLOSED = Source("kept", "Kept", "somebody", "no open licence")
FINDINGS = {
    "melanoma": ("irregular border, dark", "dark, blue veil", "irregular border, blue veil"),
    "melanocytic nevus": ("round, even colour", "round, light", "even colour, light"),
}
COLOURS = {"melanoma": (40, 20, 20), "melanocytic nevus": (210, 160, 130)}
JPEG = b"\xff\xd8 not looked at \xff\xd9"


class LetterTowers:
    """A picture is its mean colour, a text how often each letter stands in it."""

    identity = TOWER

    def __init__(self, refused: Refusal | None = None) -> None:
        self.refused = refused

    def picture_features(self, picture: Picture) -> Vector:
        colours = np.frombuffer(picture.rgb, np.uint8).reshape(-1, 3).mean(0)
        return [*(colours / 255).tolist(), 1.0]

    def text_features(self, text: str) -> Vector:
        counts = [text.count(chr(letter)) for letter in range(ord("a"), ord("z") + 1)]
        return [*map(float, counts), 1.0]

    def refusal(self, picture: Picture, features: Vector) -> Refusal | None:
        return self.refused


def plain_picture(colour: Sequence[int]) -> Picture:
    return Picture(bytes(colour) * 16, 4, "cd" * 32, "PNG", 4, 4, None, measures={"spread": 0.5})


def write_small_atlas(folder: Path, least_cosine: float = -1.0) -> Path:
    """Three cases of either label, those of the open source with a picture."""
    folder.mkdir(parents=True)
    towers, heads = LetterTowers(), small_heads()
    cases: list[StoredCase] = []
    pictures: list[bytes] = []
    captions: list[Vector] = []
    for label, stated in FINDINGS.items():
        for number, findings in enumerate(stated):
            source = OPEN if number else CLOSED
            size_bytes = len(JPEG) if source is OPEN else 0
            cases.append(
                StoredCase(
                    case_id=f"{len(cases):016x}",
                    label=label,
                    domain="skin",
                    findings=findings,
                    caption=f"{label}. {findings}.",
                    source=source.name,
                    row=str(number),
                    sha256=f"{len(cases):064x}",
                    picture_start=len(JPEG) * len(pictures),
                    picture_bytes=size_bytes,
                )
            )
            if size_bytes:
                pictures.append(JPEG)
            captions.append(towers.text_features(cases[-1].caption))
    seen = [towers.picture_features(plain_picture(COLOURS[case.label])) for case in cases]
    vectors = case_vectors(
        heads.image.project(np.array(seen, np.float32)),
        heads.text.project(np.array(captions, np.float32)),
    )
    lines = [json.dumps(asdict(case)) + "\n" for case in cases]
    (folder / CASES).write_text("".join(lines), encoding="utf-8")
    (folder / PICTURES).write_bytes(b"".join(pictures))
    np.save(folder / VECTORS, vectors.astype(np.float32))
    write_heads(heads, folder / HEADS)
    said = {
        "name": "small",
        "dimensions": heads.dimensions,
        "cases_by_label": {label: len(stated) for label, stated in FINDINGS.items()},
        "least_cosine": least_cosine,
    }
    write_atlas_manifest(folder, TOWER, {s.name: s for s in (OPEN, CLOSED)}, said)
    return folder


def small_heads() -> Heads:
    return Heads(_random_head(4, 0), _random_head(27, 1))


def _random_head(features: int, seed: int) -> Head:
    rng = np.random.default_rng(seed)

    def drawn(*shape: int) -> "np.ndarray[tuple[int, ...], np.dtype[np.float32]]":
        return rng.normal(size=shape).astype(np.float16).astype(np.float32)

    return Head(
        np.zeros(features, np.float32),
        np.ones(features, np.float32),
        drawn(features, 16),
        drawn(16),
        drawn(16, 8),
        drawn(8),
    )
