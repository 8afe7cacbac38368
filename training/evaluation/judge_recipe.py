"""The settings of a judging run, read from a TOML; no defaults hide here, and no key.

Endpoint and patience are set as a teacher's are (training.teach.recipe).
"""

from dataclasses import dataclass
from pathlib import Path

from training.recipe import Claim, amount_claims, count_claims, read_toml, require
from training.teach.recipe import EndpointSettings, Patience, endpoint_claims


@dataclass(frozen=True)
class JudgePrices:
    """In dollars, as the endpoint's price list has them today; all 0 for a local server."""

    input_per_million: float
    output_per_million: float
    budget: float
    """Most that the scores in one folder may cost together."""


@dataclass(frozen=True)
class JudgeRecipe:
    name: str
    seed: int
    """Of the choice of images and of the bootstrap."""
    images_per_domain: int
    """Most images of a domain that are judged; `--per-domain` goes before it."""
    tries: int
    """How often a question is put until its answer has the form asked for."""
    embedder: str
    """Folder of a sentence-transformers model; empty for the installed all-MiniLM-L6-v2."""
    endpoint: EndpointSettings
    patience: Patience
    prices: JudgePrices


SECTIONS = {"endpoint": EndpointSettings, "patience": Patience, "prices": JudgePrices}


def read_judge_recipe(path: Path) -> JudgeRecipe:
    """Raises: RecipeError naming file and key."""
    recipe = read_toml(path, JudgeRecipe, SECTIONS)
    require(path, _claims(recipe))
    return recipe


def _claims(recipe: JudgeRecipe) -> list[Claim]:
    """What must hold of the values."""
    endpoint, patience, prices = recipe.endpoint, recipe.patience, recipe.prices
    counts = {
        "`images_per_domain`": recipe.images_per_domain,
        "`tries`": recipe.tries,
        "[endpoint] `most_output_tokens`": endpoint.most_output_tokens,
        "[patience] `concurrency`": patience.concurrency,
        "[patience] `most_attempts`": patience.most_attempts,
    }
    amounts = {f"[prices] `{key}`": value for key, value in vars(prices).items()}
    amounts |= {f"[patience] `{key}`": value for key, value in vars(patience).items()}
    return [
        (type(recipe.seed) is int, "`seed` is not a whole number"),
        *count_claims(counts),
        *amount_claims(amounts),
        *endpoint_claims(endpoint),
    ]
