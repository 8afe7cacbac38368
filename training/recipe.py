"""The settings of a training run, read from a committed TOML; no defaults hide here."""

import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

from appliance.core.labels import Domain

T = TypeVar("T")

Claim = tuple[bool, str]
"""What must hold of a recipe, and what is said when it does not."""


class RecipeError(ValueError):
    """A recipe file that cannot be followed; names file and key."""


@dataclass(frozen=True)
class Geometry:
    """Sizes of a Gemma 3 decoder with a SigLIP tower."""

    image_size: int
    patch_size: int
    image_tokens: int
    """Soft tokens an image becomes: (image_size / patch_size / k) squared."""
    vision_width: int
    vision_depth: int
    text_width: int
    text_depth: int
    vocabulary: int
    """Most pieces the tokenizer may have."""


@dataclass(frozen=True)
class ConvnetRecipe:
    """The convolutional teacher of the tower."""

    image_size: int
    epochs: float
    batch_size: int
    learning_rate: float
    weight_decay: float
    balance: float
    domain_share: dict[Domain, float]
    label_smoothing: float
    frozen_blocks: int
    """Blocks from the first that keep their ImageNet weights, of 16."""


@dataclass(frozen=True)
class TowerRecipe:
    """The vision tower as a classifier of all labels, in rounds: in each the learning rate rises
    again and falls to nothing."""

    epochs: list[float]
    """Of each round: images seen over images in the training split."""
    learning_rate: list[float]
    """Highest, of each round."""
    mixup_share: list[float]
    """Of each round: share of steps on blended pictures."""
    teacher_share: list[float]
    """Of each round: weight of the teacher's probabilities in the label to be learnt; the truth has
    the rest."""
    batch_size: int
    weight_decay: float
    balance: float
    domain_share: dict[Domain, float]
    hint_weight: float
    """Weight of the teacher's feature maps beside the label's loss."""
    finding_weight: float
    """Weight of the measured findings' levels."""
    average_decay: float

    def __post_init__(self) -> None:
        rounds = len(self.epochs)
        for key in ("learning_rate", "mixup_share", "teacher_share"):
            if (given := len(getattr(self, key))) != rounds:
                raise RecipeError(f"[tower] `{key}` has {given} entries, `epochs` {rounds}")


@dataclass(frozen=True)
class CaptionerRecipe:
    """Projector and decoder on captions without their label; the tower stays as it is."""

    epochs: float
    batch_size: int
    learning_rate: float
    weight_decay: float
    balance: float
    domain_share: dict[Domain, float]


@dataclass(frozen=True)
class Recipe:
    name: str
    seed: int
    geometry: Geometry
    convnet: ConvnetRecipe
    tower: TowerRecipe
    captioner: CaptionerRecipe


def read_recipe(path: Path) -> Recipe:
    """Raises: RecipeError naming file and key."""
    sections = {
        "geometry": Geometry,
        "convnet": ConvnetRecipe,
        "tower": TowerRecipe,
        "captioner": CaptionerRecipe,
    }
    return read_toml(path, Recipe, sections)


def read_toml(path: Path, kind: type[T], sections: dict[str, type[Any]]) -> T:
    """The settings in `path`, each of its `sections` as its own class.

    Raises: RecipeError naming file and key.
    """
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except ValueError as exc:
        raise RecipeError(f"{path}: not TOML: {exc}") from exc
    for key, section in sections.items():
        table[key] = build(section, table.get(key, {}), f"{path}: [{key}]")
    return build(kind, table, str(path))


def require(path: Path, claims: Iterable[Claim]) -> None:
    """Raises: RecipeError with the first that does not hold."""
    for holds, problem in claims:
        if not holds:
            raise RecipeError(f"{path}: {problem}")


def count_claims(counts: Mapping[str, object]) -> list[Claim]:
    """That these settings, by name, are whole numbers above 0."""
    return [
        (type(value) is int and value > 0, f"{key} is not a whole number above 0")
        for key, value in counts.items()
    ]


def amount_claims(amounts: Mapping[str, object]) -> list[Claim]:
    """That these settings, by name, are numbers from 0 up."""
    return [
        (type(value) in (int, float) and value >= 0, f"{key} is not a number from 0 up")  # type: ignore[operator]
        for key, value in amounts.items()
    ]


def choice_claim(key: str, value: object, allowed: Sequence[str]) -> Claim:
    """That a setting is one of these."""
    return value in allowed, f"{key} is not one of {', '.join(allowed)}"


def build(kind: type[T], table: dict[str, Any], where: str) -> T:
    known = {field.name for field in fields(kind)}  # type: ignore[arg-type]
    for key in sorted(known ^ set(table)):
        problem = "is missing" if key in known else "is not a setting"
        raise RecipeError(f"{where} `{key}` {problem}")
    return kind(**table)
