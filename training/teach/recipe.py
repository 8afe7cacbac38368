"""The settings of a teaching run, read from a TOML; no defaults hide here, and no key.

The endpoint's key is named by its environment variable only; an address that carries one is
refused, because the address is written into the data card.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args
from urllib.parse import urlsplit

from appliance.core.labels import DOMAINS, Domain
from training.recipe import (
    Claim,
    amount_claims,
    choice_claim,
    count_claims,
    read_toml,
    require,
)

AnswerFormat = Literal["json_schema", "json_object"]
OutputLimit = Literal["max_completion_tokens", "max_tokens"]


@dataclass(frozen=True)
class Sampling:
    domains: list[Domain]
    kept_per_label: int
    """Captions wanted of every label."""
    asked_per_label: int
    """Most images of a label that are shown to the teacher to get them."""
    image_side: int
    """Longest side sent, in pixels; a larger image is scaled down."""


@dataclass(frozen=True)
class EndpointSettings:
    base_url: str
    """Up to and without /chat/completions."""
    model: str
    api_key_variable: str
    """Environment variable with the key; empty where the endpoint needs none."""
    answer_format: AnswerFormat
    """json_schema as OpenAI has it, or json_object with the schema beside it, as llama.cpp's."""
    output_limit: OutputLimit
    """What the endpoint calls the most tokens of an answer."""
    most_output_tokens: int
    """Reasoning included, where the teacher reasons."""
    extra: dict[str, Any]
    """Further fields of the request, sent as they are."""


@dataclass(frozen=True)
class Patience:
    concurrency: int
    timeout_s: float
    most_attempts: int
    first_wait_s: float
    """Doubled with every further attempt."""
    longest_wait_s: float
    """An endpoint that asks for a longer wait has not answered."""


@dataclass(frozen=True)
class Prices:
    """In dollars, as the endpoint's price list has them today."""

    input_per_million: float
    output_per_million: float
    image_tokens: int
    """What one image is charged as: an estimate, replaced by what the answers report."""
    output_tokens: int
    """What an answer is expected to take."""
    budget: float
    """Most that the answers in one run folder may cost together."""


@dataclass(frozen=True)
class SplitShares:
    train: float
    val: float
    test: float


@dataclass(frozen=True)
class TeachRecipe:
    name: str
    seed: int
    sampling: Sampling
    endpoint: EndpointSettings
    patience: Patience
    prices: Prices
    split: SplitShares


SECTIONS = {
    "sampling": Sampling,
    "endpoint": EndpointSettings,
    "patience": Patience,
    "prices": Prices,
    "split": SplitShares,
}


def read_teach_recipe(path: Path) -> TeachRecipe:
    """Raises: RecipeError naming file and key."""
    recipe = read_toml(path, TeachRecipe, SECTIONS)
    require(path, _claims(recipe))
    return recipe


def _claims(recipe: TeachRecipe) -> Iterator[Claim]:
    """What must hold of the values, each if those before it do."""
    sampling, prices, patience = recipe.sampling, recipe.prices, recipe.patience
    yield from count_claims(
        {
            "[sampling] `kept_per_label`": sampling.kept_per_label,
            "[sampling] `asked_per_label`": sampling.asked_per_label,
            "[sampling] `image_side`": sampling.image_side,
            "[endpoint] `most_output_tokens`": recipe.endpoint.most_output_tokens,
            "[patience] `concurrency`": patience.concurrency,
            "[patience] `most_attempts`": patience.most_attempts,
        }
    )
    sections = {"prices": prices, "split": recipe.split, "patience": patience}
    yield from amount_claims(
        {
            f"[{name}] `{key}`": value
            for name, section in sections.items()
            for key, value in vars(section).items()
        }
    )
    yield (
        sampling.asked_per_label >= sampling.kept_per_label,
        "[sampling] `asked_per_label` is less than `kept_per_label`",
    )
    yield (
        bool(sampling.domains) and set(sampling.domains) <= set(DOMAINS),
        f"[sampling] `domains` is not a list out of {', '.join(DOMAINS)}",
    )
    yield from endpoint_claims(recipe.endpoint)
    yield (
        abs(sum(vars(recipe.split).values()) - 1) < 1e-6,
        "[split] the shares do not add up to 1",
    )


def endpoint_claims(endpoint: EndpointSettings) -> list[Claim]:
    """What must hold of an endpoint, a teacher's or a judge's."""
    return [
        choice_claim("[endpoint] `answer_format`", endpoint.answer_format, get_args(AnswerFormat)),
        choice_claim("[endpoint] `output_limit`", endpoint.output_limit, get_args(OutputLimit)),
        (
            _is_plain_address(endpoint.base_url),
            "[endpoint] `base_url` is not an http(s) address without user, key or question mark",
        ),
    ]


def _is_plain_address(address: str) -> bool:
    parts = urlsplit(address)
    return (
        parts.scheme in ("http", "https")
        and bool(parts.hostname)
        and not (parts.username or parts.password or parts.query or parts.fragment)
    )
