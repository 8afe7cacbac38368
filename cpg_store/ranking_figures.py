"""Figures of rankings: nDCG, recall, reciprocal rank, and how far chance could move their mean.

Plain functions of ids; they know nothing of how a ranking was made.
"""

import math
import random
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from statistics import fmean

RESAMPLES = 2000
_SEED = 20261122


@dataclass(frozen=True)
class Figure:
    """A mean over queries with its 95 % interval (percentile bootstrap over queries)."""

    mean: float
    low: float
    high: float


def ndcg(ranked: Sequence[str], relevant: Collection[str], k: int = 10) -> float:
    """Normalised discounted cumulative gain of the first `k`; every relevant id gains one.

    Jaervelin and Kekaelaeinen 2002, doi:10.1145/582415.582418, with the discount log2(rank + 1).
    """
    gained = sum(1 / math.log2(rank + 1) for rank, each in _ranks(ranked, k) if each in relevant)
    possible = sum(1 / math.log2(rank + 1) for rank in range(1, min(k, len(relevant)) + 1))
    return gained / possible


def capped_recall(ranked: Sequence[str], relevant: Collection[str], k: int = 10) -> float:
    """The share found among the first `k`, of as many as could be: min(k, number relevant). BEIR's
    capped recall (arXiv:2104.08663); recall itself divides by the number relevant."""
    return len(set(ranked[:k]) & set(relevant)) / min(k, len(relevant))


def reciprocal_rank(ranked: Sequence[str], relevant: Collection[str]) -> float:
    """One over the rank of the first relevant id; 0 when there is none."""
    return next((1 / rank for rank, each in _ranks(ranked, len(ranked)) if each in relevant), 0.0)


def figure(values: Sequence[float]) -> Figure:
    """The mean of one value a query, with its interval; the same values give the same interval."""
    draw = random.Random(_SEED)
    means = sorted(fmean(draw.choices(values, k=len(values))) for _ in range(RESAMPLES))
    return Figure(fmean(values), means[int(RESAMPLES * 0.025)], means[int(RESAMPLES * 0.975)])


def _ranks(ranked: Sequence[str], k: int) -> list[tuple[int, str]]:
    return list(enumerate(dict.fromkeys(ranked), 1))[:k]
