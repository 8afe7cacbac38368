"""What a drawing model is trained with and how it draws, read from a committed TOML."""

import tomllib
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from appliance.core.labels import Domain
from training.recipe import read_toml

CONFIGS = Path(__file__).parents[1] / "configs"
DEMONSTRATION = CONFIGS / "synthetic-demonstration.toml"


@dataclass(frozen=True)
class Unet:
    """A denoiser of pixels, trained from nothing."""

    side: int
    """Of a picture, in pixels."""
    patch: int
    """Squares of so many pixels become the channels of one place."""
    widths: list[int]
    """Channels at each of its levels; each level has half the side of the one above."""
    heads: int
    """Of attention, at every level but the first."""
    layers: int
    """Blocks a level."""


@dataclass(frozen=True)
class Lora:
    """An adapter on the denoiser of a Stable Diffusion pipeline."""

    side: int
    """Of a picture, in pixels."""
    rank: int
    alpha: int


@dataclass(frozen=True)
class Steps:
    epochs: float
    """Images seen over images in the training split."""
    batch: int
    learning_rate: float
    warm_up: int
    """Steps."""
    weight_decay: float
    balance: float
    """0 draws labels as they occur, 1 draws every label equally often."""
    domain_share: dict[Domain, float]
    blank: float
    """Share of pictures whose label is left out, as many whose caption is, and as many with
    neither: so that it can draw from either, and be guided."""
    save_every: int
    """Steps."""
    validated: int
    """Pictures of the validation split that are looked at then."""


@dataclass(frozen=True)
class Drawing:
    steps: int
    """Of DDIM (Song et al. 2021, arXiv:2010.02502)."""
    guidance: float
    """How far beyond the unconditional picture (Ho and Salimans 2022, arXiv:2207.12598); 1 is
    none."""


@dataclass(frozen=True)
class PixelRecipe:
    name: str
    seed: int
    average_decay: float
    """Of the running average of the weights, which is what draws."""
    unet: Unet
    steps: Steps
    drawing: Drawing


@dataclass(frozen=True)
class StableRecipe:
    name: str
    seed: int
    base: str
    """Folder of a StableDiffusionPipeline."""
    lora: Lora
    steps: Steps
    drawing: Drawing


SyntheticRecipe = PixelRecipe | StableRecipe


def read_synthetic_recipe(path: Path) -> SyntheticRecipe:
    """With a `base` it is a Stable Diffusion model's. Raises: RecipeError naming file and key."""
    shared = {"steps": Steps, "drawing": Drawing}
    with suppress(ValueError):  # what is no TOML is said below
        if "base" in tomllib.loads(path.read_text(encoding="utf-8")):
            return read_toml(path, StableRecipe, {**shared, "lora": Lora})
    return read_toml(path, PixelRecipe, {**shared, "unet": Unet})
