"""What a release says of itself that no figure tells: intended use, known failures, terms."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from appliance.core.scope import read_scope
from export.errors import ExportError
from training.recipe import RecipeError, read_toml

CARDS = Path(__file__).parent / "cards"
DEMONSTRATION = CARDS / "demonstration.toml"


@dataclass(frozen=True)
class BaseModel:
    architecture: str
    origin: str


@dataclass(frozen=True)
class Card:
    name: str
    demonstration: bool
    """Marks every answer as not for clinical use."""
    intended_use: str
    known_failures: list[str]
    licences: list[str]
    scope: dict[str, dict[str, Any]]
    """What it was trained on, by domain: the keys of appliance.core.scope.DomainScope."""
    base_model: BaseModel


def read_card(path: Path) -> Card:
    """Raises: ExportError naming file and key."""
    try:
        card = read_toml(path, Card, {"base_model": BaseModel})
        read_scope(card.scope)
    except RecipeError as exc:
        raise ExportError(str(exc)) from exc
    except (ValueError, KeyError, TypeError) as exc:
        raise ExportError(f"{path}: [scope] cannot be used ({exc})") from exc
    return card
