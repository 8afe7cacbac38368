"""The settings of a teaching run, read from a TOML; no defaults hide here, and no key.

The endpoint's key is named by its environment variable only; an address that carries one is
refused, because the address is written into the data card.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args
from urllib.parse import urlsplit

from appliance.core.labels import DOMAINS, Domain
from training.recipe import RecipeError, read_toml

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


Claim = tuple[bool, str]
"""What must hold of a recipe, and what is said when it does not."""

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
    for claim, problem in _claims(recipe):
        if not claim:
            raise RecipeError(f"{path}: {problem}")
    return recipe


def _claims(recipe: TeachRecipe) -> list[Claim]:
    """What must hold of the values."""
    sampling, endpoint, patience, prices = (
        recipe.sampling,
        recipe.endpoint,
        recipe.patience,
        recipe.prices,
    )
    counts = {
        "[sampling] `kept_per_label`": sampling.kept_per_label,
        "[sampling] `image_side`": sampling.image_side,
        "[endpoint] `most_output_tokens`": endpoint.most_output_tokens,
        "[patience] `concurrency`": patience.concurrency,
        "[patience] `most_attempts`": patience.most_attempts,
    }
    amounts = {f"[prices] `{key}`": value for key, value in vars(prices).items()}
    amounts |= {f"[split] `{key}`": value for key, value in vars(recipe.split).items()}
    amounts |= {f"[patience] `{key}`": value for key, value in vars(patience).items()}
    return [
        *(
            (is_count(value), f"{key} is not a whole number above 0")
            for key, value in counts.items()
        ),
        *((is_amount(value), f"{key} is not a number from 0 up") for key, value in amounts.items()),
        (
            is_count(sampling.asked_per_label)
            and sampling.asked_per_label >= sampling.kept_per_label,
            "[sampling] `asked_per_label` is less than `kept_per_label`",
        ),
        (
            bool(sampling.domains) and set(sampling.domains) <= set(DOMAINS),
            f"[sampling] `domains` is not a list out of {', '.join(DOMAINS)}",
        ),
        *endpoint_claims(endpoint),
        (
            abs(sum(vars(recipe.split).values()) - 1) < 1e-6,
            "[split] the shares do not add up to 1",
        ),
    ]


def endpoint_claims(endpoint: EndpointSettings) -> list[Claim]:
    """What must hold of an endpoint, a teacher's or a judge's."""
    return [
        (
            endpoint.answer_format in get_args(AnswerFormat),
            f"[endpoint] `answer_format` is not one of {', '.join(get_args(AnswerFormat))}",
        ),
        (
            endpoint.output_limit in get_args(OutputLimit),
            f"[endpoint] `output_limit` is not one of {', '.join(get_args(OutputLimit))}",
        ),
        (
            _is_plain_address(endpoint.base_url),
            "[endpoint] `base_url` is not an http(s) address without user, key or question mark",
        ),
    ]


def is_count(value: object) -> bool:
    return type(value) is int and value > 0


def is_amount(value: object) -> bool:
    return type(value) in (int, float) and value >= 0  # type: ignore[operator]


def _is_plain_address(address: str) -> bool:
    parts = urlsplit(address)
    return (
        parts.scheme in ("http", "https")
        and bool(parts.hostname)
        and not (parts.username or parts.password or parts.query or parts.fragment)
    )
