"""A retriever whose two heads learn from what a reader makes of each candidate.

After JOMED (arXiv:2508.17394): the query's vector is a mixture of a learned and a frozen one; one
head looks for candidates by their pictures, one by their captions, trained in turn; the loss is
the KL divergence from the reader's likelihood of the truth over the candidates to the retriever's
distribution over them. Knows vectors and posteriors; knows no model.
"""

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch

Side = Literal["image", "text"]
SIDES: tuple[Side, ...] = ("text", "image")
"""In the order in which they are trained."""
NO_LABEL = -1
Logs = NDArray[np.float64]
TOTAL_TOLERANCE = 1e-3


def build_heads(dimensions: int, learned_share: float) -> Any:
    """Both heads; each begins as the identity, so that the query begins as the frozen one."""
    import torch
    import torch.nn.functional as F
    from torch import nn

    class DualHeads(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            heads: dict[str, nn.Linear] = {
                side: nn.Linear(dimensions, dimensions) for side in SIDES
            }
            for head in heads.values():
                nn.init.eye_(head.weight)
                nn.init.zeros_(head.bias)
            self.heads = nn.ModuleDict(heads)

        def forward(self, queries: torch.Tensor, side: Side) -> torch.Tensor:
            """Frozen unit vectors (queries, dimensions) to the mixed ones, of length one."""
            learned = F.normalize(self.heads[side](queries), dim=-1)
            mixed = learned_share * learned + (1 - learned_share) * queries
            return F.normalize(mixed, dim=-1)

    return DualHeads()


def train_only(heads: Any, side: Side) -> "list[torch.Tensor]":
    """The weights of one head, the other's frozen."""
    for name, head in heads.heads.items():
        head.requires_grad_(name == side)
    return [weight for weight in heads.parameters() if weight.requires_grad]


def retrieval_loss(
    scores: "torch.Tensor", log_likelihoods: "torch.Tensor", temperature: float
) -> "torch.Tensor":
    """KL(reader || retriever) of each query, (queries,).

    `scores`: the retriever's cosines, `log_likelihoods`: the reader's natural log-probability of
    the true label given each candidate; both (queries, candidates). Each is normalised over the
    candidates here and nowhere else.
    """
    import torch.nn.functional as F

    wanted = log_likelihoods.log_softmax(-1)
    found = (scores / temperature).log_softmax(-1)
    return F.kl_div(found, wanted, reduction="none", log_target=True).sum(-1)


def fused(posteriors: Logs, scores: Logs, temperature: float) -> Logs:
    """Log-probability of each label, (queries, labels): the reader's posteriors of the candidates
    read, (queries, candidates, labels), weighted by the retriever's distribution over these.

    Raises: ValueError for what is no log-probability.
    """
    refuse_unnormalised(posteriors)
    weights = scores / temperature
    weights = weights - np.logaddexp.reduce(weights, axis=1, keepdims=True)
    found: Logs = np.logaddexp.reduce(posteriors + weights[..., None], axis=1)
    return found


def chosen(posteriors: Logs) -> NDArray[np.int64]:
    """The likeliest label of each, along the last axis; NO_LABEL where nothing usable was said,
    never the first label."""
    usable = np.isfinite(posteriors).any(-1) & ~np.isnan(posteriors).any(-1)
    likeliest = np.where(np.isnan(posteriors), -np.inf, posteriors).argmax(-1)
    found: NDArray[np.int64] = np.where(usable, likeliest, NO_LABEL)
    return found


def inconsistent(posteriors: Logs) -> NDArray[np.bool_]:
    """Whether the candidates read lead the reader to different labels, (queries,)."""
    labels = chosen(posteriors)
    found: NDArray[np.bool_] = (labels != labels[:, :1]).any(1)
    return found


def refuse_unnormalised(posteriors: Logs) -> None:
    """Raises: ValueError unless the labels' probabilities sum to 1: neither raw scores nor what
    went through a softmax twice."""
    totals = np.exp(np.logaddexp.reduce(posteriors, axis=-1))
    if np.abs(totals - 1).max() > TOTAL_TOLERANCE:
        raise ValueError(f"not log-probabilities: they sum to {totals.min():g} to {totals.max():g}")


def nearest(
    queries: NDArray[Any], keys: NDArray[Any], allowed: NDArray[np.bool_], count: int
) -> NDArray[np.int64]:
    """Places of the nearest keys, nearest first, (queries, count); `allowed` is (queries, keys)."""
    scores = np.where(allowed, queries @ keys.T, -np.inf)
    found: NDArray[np.int64] = np.argsort(-scores, axis=1, kind="stable")[:, :count]
    return found
