"""Labels and the domains they belong to.

Owns the closed list a release may answer from. Knows nothing of how a label is found.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, get_args

Domain = Literal["skin", "fundus", "chest"]
DOMAINS: tuple[Domain, ...] = get_args(Domain)


@dataclass(frozen=True)
class Label:
    """One diagnosis a release can give."""

    name: str
    """As written in the caption's JSON, lower case."""
    domain: Domain


@dataclass(frozen=True)
class LabelSet:
    """The labels of one release, in the order of its probability vector."""

    labels: tuple[Label, ...]

    def __post_init__(self) -> None:
        names = self.names
        if not names or len(set(names)) != len(names):
            raise ValueError(f"label names must be unique and not empty: {names}")

    def __iter__(self) -> Iterator[Label]:
        return iter(self.labels)

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(label.name for label in self.labels)

    def domain_of(self, name: str) -> Domain:
        """Raises: KeyError when the name is not a label of this set."""
        for label in self.labels:
            if label.name == name:
                return label.domain
        raise KeyError(name)

    def in_domain(self, domain: Domain) -> tuple[str, ...]:
        return tuple(label.name for label in self.labels if label.domain == domain)
