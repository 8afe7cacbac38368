"""The settings of a QLoRA run, read from a committed TOML; no defaults hide here."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from appliance.core.labels import Domain
from training.recipe import read_toml


@dataclass(frozen=True)
class Adapter:
    """LoRA (Hu et al. 2021, arXiv:2106.09685) on every linear layer of the decoder."""

    rank: int
    alpha: int
    dropout: float
    vision: Literal["frozen", "tuned"]
    """frozen: the tower's output is computed once and kept; tuned: the tower gets adapters too."""


@dataclass(frozen=True)
class Quantization:
    """How the frozen base is held (Dettmers et al. 2023, arXiv:2305.14314)."""

    kind: Literal["nf4", "none"]
    double: bool
    compute: Literal["bfloat16", "float32"]


@dataclass(frozen=True)
class Steps:
    learning_rate: float
    warm_up_share: float
    weight_decay: float
    largest_gradient_norm: float
    batch: int
    """Conversations an optimizer step."""
    pack_tokens: int
    """Longest row of packed conversations."""
    epochs: float
    views: int
    """Views of each image kept on disk, the first as at the clinic, the others augmented."""
    label_weight: float
    """How much the label's tokens count in the loss, those of the findings 1."""
    balance: float
    domain_share: dict[Domain, float]
    gradient_checkpointing: bool
    save_every: int
    """Steps between checkpoints; the validation loss is measured then."""
    patience: int
    """Stop after so many checkpoints without a lower validation loss."""
    validated: int
    """Most conversations of the validation split that are measured."""


@dataclass(frozen=True)
class QloraRecipe:
    name: str
    seed: int
    base: str
    """A Hugging Face folder, or the name of a model already in the local cache."""
    adapter: Adapter
    quantization: Quantization
    steps: Steps


def read_qlora_recipe(path: Path) -> QloraRecipe:
    """Raises: RecipeError naming file and key."""
    sections = {"adapter": Adapter, "quantization": Quantization, "steps": Steps}
    return read_toml(path, QloraRecipe, sections)
