"""The settings of a QLoRA run, read from a committed TOML; no defaults hide here."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from appliance.core.labels import DOMAINS, Domain
from training.recipe import Claim, amount_claims, choice_claim, count_claims, read_toml, require

Vision = Literal["frozen", "tuned"]
Kind = Literal["nf4", "none"]
Compute = Literal["bfloat16", "float32"]


@dataclass(frozen=True)
class Adapter:
    """LoRA (Hu et al. 2021, arXiv:2106.09685) on every linear layer of the decoder."""

    rank: int
    alpha: int
    dropout: float
    vision: Vision
    """frozen: the tower's output is computed once and kept; tuned: the tower gets adapters too."""


@dataclass(frozen=True)
class Quantization:
    """How the frozen base is held (Dettmers et al. 2023, arXiv:2305.14314)."""

    kind: Kind
    double: bool
    compute: Compute


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
    keeps_sides: bool
    """Whether no view is mirrored or turned far, for captions (a teacher's) that may name a side;
    without it that holds of chest radiographs alone."""
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
    recipe = read_toml(path, QloraRecipe, sections)
    require(path, qlora_claims(recipe))
    return recipe


def qlora_claims(recipe: QloraRecipe) -> Iterator[Claim]:
    """What must hold of the values, each if those before it do."""
    adapter, quantization, steps = recipe.adapter, recipe.quantization, recipe.steps
    yield type(recipe.seed) is int, "`seed` is not a whole number"
    yield type(recipe.base) is str, "`base` is not a folder or a model's name"
    yield choice_claim("[adapter] `vision`", adapter.vision, get_args(Vision))
    yield choice_claim("[quantization] `kind`", quantization.kind, get_args(Kind))
    yield choice_claim("[quantization] `compute`", quantization.compute, get_args(Compute))
    yield type(quantization.double) is bool, "[quantization] `double` is not true or false"
    yield type(steps.keeps_sides) is bool, "[steps] `keeps_sides` is not true or false"
    yield (
        type(steps.gradient_checkpointing) is bool,
        "[steps] `gradient_checkpointing` is not true or false",
    )
    yield from count_claims(
        {
            "[adapter] `rank`": adapter.rank,
            "[adapter] `alpha`": adapter.alpha,
            "[steps] `batch`": steps.batch,
            "[steps] `pack_tokens`": steps.pack_tokens,
            "[steps] `views`": steps.views,
            "[steps] `save_every`": steps.save_every,
            "[steps] `patience`": steps.patience,
            "[steps] `validated`": steps.validated,
        }
    )
    shares = steps.domain_share
    yield (
        type(shares) is dict and set(shares) <= set(DOMAINS),
        f"[steps] `domain_share` is not a table of {', '.join(DOMAINS)}",
    )
    yield from amount_claims(
        {
            "[adapter] `dropout`": adapter.dropout,
            "[steps] `learning_rate`": steps.learning_rate,
            "[steps] `warm_up_share`": steps.warm_up_share,
            "[steps] `weight_decay`": steps.weight_decay,
            "[steps] `largest_gradient_norm`": steps.largest_gradient_norm,
            "[steps] `epochs`": steps.epochs,
            "[steps] `label_weight`": steps.label_weight,
            "[steps] `balance`": steps.balance,
            **{f"[steps] `domain_share`: {domain}": share for domain, share in shares.items()},
        }
    )
    yield adapter.dropout < 1, "[adapter] `dropout` is not below 1"
    yield steps.epochs > 0, "[steps] `epochs` is not above 0"
    yield not shares or sum(shares.values()) > 0, "[steps] `domain_share` leaves every domain out"
