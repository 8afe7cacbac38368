"""The settings of a preference run, read from a committed TOML; no defaults hide here.

What is trained, its base and how that is held stand in the reference adapter's own training.json.
"""

from dataclasses import dataclass
from pathlib import Path

from training.recipe import RecipeError, read_toml


@dataclass(frozen=True)
class Preferring:
    """Direct preference optimisation (DPO; Rafailov et al. 2023, arXiv:2305.18290)."""

    learning_rate: float
    beta: float
    """Weight of the divergence from the reference adapter."""
    furthest: float
    """Most nats a caption that the captions may diverge from the reference's; the run stops
    there."""
    pairs: int
    """A step."""
    pairs_at_once: int
    """In memory together, each with two captions."""
    epochs: float
    largest_gradient_norm: float
    gradient_checkpointing: bool
    look_every: int
    """Steps between looks at what is held apart, which are also checkpoints."""
    held: float
    """Share of the judged pictures that is held apart."""


@dataclass(frozen=True)
class PreferenceRecipe:
    name: str
    seed: int
    preferring: Preferring


def read_preference_recipe(path: Path) -> PreferenceRecipe:
    """Raises: RecipeError naming file and key."""
    recipe = read_toml(path, PreferenceRecipe, {"preferring": Preferring})
    if not 0 < recipe.preferring.held < 1:
        raise RecipeError(f"{path}: [preferring] `held` is {recipe.preferring.held}, not a share")
    return recipe
