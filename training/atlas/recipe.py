"""What the heads are trained with, read from a TOML file."""

from dataclasses import dataclass
from pathlib import Path

from training.recipe import read_toml

CONFIGS = Path(__file__).parents[1] / "configs"
DEMONSTRATION = CONFIGS / "atlas.toml"
JOINT = CONFIGS / "atlas-joint.toml"


@dataclass(frozen=True)
class HeadsRecipe:
    seed: int
    dimensions: int
    """Of the space."""
    hidden: int
    steps: int
    batch: int
    learning_rate: float
    weight_decay: float
    dropout: float
    temperature: float
    """What cosines are divided by before the softmax."""
    image_noise: float
    """Standard deviation of what is added to standardised features."""
    text_noise: float
    caption_weight: float
    """Of telling which captions belong to a picture, against which pictures share its label."""
    balance: float
    """0 draws labels as they occur, 1 draws every label equally often."""


def read_heads_recipe(file: Path) -> HeadsRecipe:
    """Raises: RecipeError naming file and key."""
    return read_toml(file, HeadsRecipe, {})
