"""Which examples a step sees: a pure function of seed and step, so that a resumed run is the
same run."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from appliance.core.labels import Domain
from training.datasets import Example
from training.recipe import RecipeError


def sampling_weights(
    examples: Sequence[Example], domain_share: dict[Domain, float], balance: float
) -> NDArray[np.float64]:
    """Probability of drawing each example.

    Within a domain a label's share is its count to the power 1 - `balance`: 0 draws labels as
    they occur, 1 draws every label equally often. Without any `domain_share` domains are drawn as
    they occur.
    Raises: RecipeError when some domains have a share and another, that has examples, has none.
    """
    names, counts = np.unique([example.label for example in examples], return_counts=True)
    count = dict(zip(names.tolist(), counts.tolist(), strict=True))
    weights = np.array([count[example.label] ** -float(balance) for example in examples])
    for domain in sorted({example.domain for example in examples}) if domain_share else ():
        inside = np.array([example.domain == domain for example in examples])
        if domain not in domain_share:
            raise RecipeError(
                f"domain_share does not name {domain}, of which there are {inside.sum()} pictures; "
                "give it a share, 0 to leave them out"
            )
        weights[inside] *= domain_share[domain] / weights[inside].sum()
    normalised: NDArray[np.float64] = weights / weights.sum()
    return normalised


def draw(
    weights: NDArray[np.float64], batch_size: int, seed: int, step: int
) -> tuple[NDArray[np.int64], np.random.Generator]:
    """Positions of one batch, and the generator that the rest of the step draws from."""
    rng = np.random.default_rng((seed, step))
    return rng.choice(len(weights), batch_size, p=weights), rng
