"""The gate before the model: which pictures are not read, and what is said of those that are."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageFilter
from stand_ins import CARD, MEASURED, OneImage, OneReading, ports

from appliance.core.consult import consult
from appliance.core.gate import (
    MEASURES,
    NOT_FITTED,
    UNFITTED,
    Gate,
    Group,
    Refusal,
    distance,
    pack,
    read_gate,
    refusal,
    unfamiliar,
    unpack,
)
from appliance.core.ports import ReleaseCard
from appliance.edges.image_measures import measure
from appliance.errors import ReleaseError
from appliance.release.manifest import MANIFEST, read_release
from appliance.release.shelf import BUILT_IN
from appliance.wiring import open_captioner, open_images

PHOTOGRAPH_LIKE = {
    "spread": (0.1, 1.0),
    "dark": (0.0, 0.5),
    "bright": (0.0, 0.3),
    "detail": (0.06, 0.45),
    "grain": (0.0, 0.25),
    "entropy": (4.0, 8.0),
    "one_shade": (0.05, 0.6),
}


def said_gate(**others: Any) -> dict[str, Any]:
    """One axis, along the only feature; the domain's pictures lie around 0 with spread 1."""
    width = 1 + len(MEASURES)
    said = {
        "measures": list(MEASURES),
        "limits": {name: list(limits) for name, limits in PHOTOGRAPH_LIKE.items()},
        "mean": pack([0.0] * width),
        "scale": pack([1.0] * width),
        "axes": pack([1.0] + [0.0] * (width - 1)),
        "groups": {
            "skin": {
                "centre": pack([0.0, 1.75]),
                "factor": pack([1.0, 0.0, 1.0]),
                "usual": 2.0,
                "farthest": 3.0,
            }
        },
    }
    return {**said, **others}


def photograph(seed: int = 3) -> Image.Image:
    """Soft blotches of many shades, with some grain: what a lens gives."""
    rng = np.random.default_rng(seed)
    blotches = rng.integers(0, 256, (24, 24, 3), np.uint8)
    soft = Image.fromarray(blotches).resize((256, 256), Image.Resampling.BICUBIC)
    return as_image(np.asarray(soft) * 0.6 + 60 + rng.normal(0, 3, (256, 256, 3)))


def as_image(values: NDArray[np.floating]) -> Image.Image:
    return Image.fromarray(values.clip(0, 255).astype(np.uint8))


def noise() -> Image.Image:
    return as_image(np.random.default_rng(0).normal(128, 60, (256, 256, 3)))


def page() -> Image.Image:
    """Rows of short words on white paper."""
    paper = np.full((256, 256, 3), 250.0)
    words = np.random.default_rng(1).uniform(size=(21, 30)) < 0.6
    for row, column in np.argwhere(words):
        paper[12 * row : 12 * row + 3, 8 * column : 8 * column + 5] = 20
    return as_image(paper)


SPOILED: list[tuple[str, Callable[[], Image.Image]]] = [
    ("image-blank", lambda: Image.new("RGB", (300, 200), (90, 40, 40))),
    ("image-noise", noise),
    ("image-not-clinical", page),
    ("image-blurred", lambda: photograph().filter(ImageFilter.GaussianBlur(14))),
    ("image-exposure", lambda: photograph().point(lambda value: value * 0.15)),
    ("image-exposure", lambda: photograph().point(lambda value: min(255, value * 2.1))),
]


@pytest.mark.parametrize(("code", "draw"), SPOILED)
def test_a_spoiled_picture_is_refused_for_what_is_wrong_with_it(
    code: str, draw: Callable[[], Image.Image]
) -> None:
    found = refusal(read_gate(said_gate()), measure(draw()))
    assert found is not None and found.code == code


def test_a_photograph_passes() -> None:
    assert refusal(read_gate(said_gate()), measure(photograph())) is None


@pytest.mark.parametrize("side", [128, 700, 2000])
def test_measures_mean_the_same_at_any_size(side: int) -> None:
    small, large = (measure(photograph().resize((s, s))) for s in (400, side))
    for name in MEASURES:
        if name not in ("entropy", "lines", "grain"):  # not ratios, or of single pixels
            assert large[name] == pytest.approx(small[name], abs=0.06), name


def test_the_measures_are_those_that_the_gate_knows() -> None:
    assert tuple(measure(photograph())) == MEASURES


def test_a_file_comes_with_its_measures(tmp_path: Path) -> None:
    path = tmp_path / "x.png"
    photograph().save(path)
    found = open_images().open(str(path), 64).measures
    assert found == pytest.approx(measure(photograph()))


def test_a_release_that_was_not_fitted_refuses_blank_pictures_only() -> None:
    codes = [refusal(UNFITTED, measure(draw())) for _, draw in SPOILED]
    assert [found.code if found else None for found in codes] == ["image-blank"] + [None] * 5


@pytest.mark.parametrize(("feature", "expected"), [(0.5, None), (2.5, str), (3.5, Refusal)])
def test_what_is_far_is_refused_and_what_is_unusual_is_said(
    feature: float, expected: type | None
) -> None:
    familiarity = read_gate(said_gate()).familiarity
    assert familiarity is not None
    found = unfamiliar(familiarity, [feature], MEASURED)
    assert found is None if expected is None else isinstance(found, expected)


def test_the_distance_is_mahalanobis() -> None:
    covariance = np.array([[4.0, 1.2], [1.2, 1.0]])
    factor = np.linalg.inv(np.linalg.cholesky(covariance))
    group = Group((1.0, 2.0), ((factor[0, 0],), (factor[1, 0], factor[1, 1])), 1, 1)
    away = np.array([3.0, -1.0]) - [1.0, 2.0]
    expected = np.sqrt(away @ np.linalg.inv(covariance) @ away)
    assert distance(group, [3.0, -1.0]) == pytest.approx(expected)


def test_numbers_come_back_as_they_were_packed() -> None:
    values = (0.0, -1.5, 1024.0, 0.0009765625)
    assert unpack(pack(values)) == values


class Fitted(OneReading):
    """A captioner of a release with a gate."""

    def __init__(self, gate: Gate, feature: float) -> None:
        super().__init__()
        self.release: ReleaseCard = ReleaseCard(**{**vars(CARD), "gate": gate})
        self.feature = feature

    def features(self, picture: Any) -> tuple[float, ...]:
        return (self.feature,)


def test_an_unfamiliar_picture_is_not_read_and_the_outcome_says_why() -> None:
    captioner = Fitted(read_gate(said_gate(limits={})), 9.0)
    result = consult("x.png", ports(captioner=captioner), k=0)
    assert result.error is not None and result.error.code == "image-unfamiliar"
    assert "cannot read this image" in result.error.message and "x.png" in result.error.message
    assert result.caption is None
    assert result.entry is not None and result.entry.body["error"] == "image-unfamiliar"


def test_an_unusual_picture_is_read_and_the_answer_says_so() -> None:
    captioner = Fitted(read_gate(said_gate(limits={})), 2.5)
    result = consult("x.png", ports(captioner=captioner), k=0)
    assert result.error is None and any("unlike most skin pictures" in s for s in result.limits)


def test_an_answer_says_when_the_release_has_no_gate() -> None:
    assert NOT_FITTED in consult("x.png", ports(images=OneImage()), k=0).limits


@pytest.mark.parametrize(
    "damage",
    [
        {"axes": pack([1.0, 2.0])},
        {"scale": pack([0.0] * (1 + len(MEASURES)))},
        {"mean": pack([float("nan")] * (1 + len(MEASURES)))},
        {"mean": "not base64!"},
        {"mean": ""},
        {"limits": {"brightness": [0, 1]}},
        {"limits": {"spread": [1, 0]}},
        {"groups": {}},
        {"measures": ["spread"]},
        {
            "groups": {
                "skin": {"centre": pack([0.0]), "factor": pack([1.0]), "usual": 1, "farthest": 2}
            }
        },
    ],
)
def test_a_damaged_gate_is_noticed_when_it_is_read(damage: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        read_gate(said_gate(**damage))


def test_a_release_with_a_damaged_gate_is_not_used(tmp_path: Path) -> None:
    manifest = json.loads((BUILT_IN / MANIFEST).read_text(encoding="utf-8"))
    manifest["gate"]["axes"] = manifest["gate"]["axes"][:-8]
    (tmp_path / MANIFEST).write_text(json.dumps(manifest), encoding="utf-8")
    with pytest.raises(ReleaseError, match="manifest cannot be read"):
        read_release(tmp_path)


def test_the_release_that_ships_reads_a_chest_film_and_refuses_a_film_of_a_leg(
    chest_dicom: Path,
) -> None:
    with open_captioner(read_release(BUILT_IN), 1) as captioner:
        card = captioner.release
        familiarity = card.gate.familiarity
        assert familiarity is not None
        found = []
        for path in (chest_dicom, chest_dicom.with_name("RG3_UNCR.dcm")):
            picture = open_images().open(str(path), card.image_size)
            assert refusal(UNFITTED, picture.measures) is None
            found.append(
                refusal(card.gate, picture.measures)
                or unfamiliar(familiarity, captioner.features(picture), picture.measures)
            )
    assert [isinstance(each, Refusal) for each in found] == [False, True]
