"""Claims about which examples a step sees."""

from collections import defaultdict

import numpy as np
import pytest
from numpy.typing import NDArray

from appliance.core.labels import Domain
from tests.training.tiny import SHARE
from training.datasets import Example
from training.recipe import RecipeError
from training.sampling import draw, sampling_weights

COUNT: dict[tuple[str, Domain], int] = {
    ("melanocytic nevus", "skin"): 12,
    ("melanoma", "skin"): 3,
    ("cataract", "fundus"): 5,
    ("normal chest", "chest"): 4,
}
EXAMPLES = [
    Example("made", row, label, domain, f"{label}-{row}", "train")
    for (label, domain), count in COUNT.items()
    for row in range(count)
]


def summed(weights: NDArray[np.float64], field: str) -> dict[str, float]:
    total: defaultdict[str, float] = defaultdict(float)
    for example, weight in zip(EXAMPLES, weights, strict=True):
        total[getattr(example, field)] += weight
    return total


@pytest.mark.parametrize("balance", [0.0, 0.6, 1.0])
def test_weights_sum_to_one_and_keep_the_domains_shares(balance: float) -> None:
    weights = sampling_weights(EXAMPLES, SHARE, balance)
    assert weights.sum() == pytest.approx(1)
    assert summed(weights, "domain") == pytest.approx(SHARE)


def test_a_domain_without_a_share_is_refused_and_one_of_0_is_never_drawn() -> None:
    with pytest.raises(RecipeError, match="domain_share does not name chest, of which there are 4"):
        sampling_weights(EXAMPLES, {"skin": 0.5, "fundus": 0.5}, 0.0)
    shares = summed(
        sampling_weights(EXAMPLES, {"skin": 0.5, "fundus": 0.5, "chest": 0}, 0), "domain"
    )
    assert shares == pytest.approx({"skin": 0.5, "fundus": 0.5, "chest": 0})


def test_without_shares_domains_are_drawn_as_they_occur() -> None:
    shares = summed(sampling_weights(EXAMPLES, {}, 0.0), "domain")
    assert shares == pytest.approx({"skin": 15 / 24, "fundus": 5 / 24, "chest": 4 / 24})


def test_a_share_of_a_domain_without_examples_changes_nothing() -> None:
    skin = [example for example in EXAMPLES if example.domain == "skin"]
    assert sampling_weights(skin, SHARE, 0.0) == pytest.approx(np.full(15, 1 / 15))


def test_balance_0_draws_labels_as_they_occur() -> None:
    by_label = summed(sampling_weights(EXAMPLES, SHARE, 0.0), "label")
    assert by_label["melanocytic nevus"] / by_label["melanoma"] == pytest.approx(12 / 3)


def test_balance_1_draws_every_label_of_a_domain_equally() -> None:
    by_label = summed(sampling_weights(EXAMPLES, SHARE, 1.0), "label")
    assert by_label["melanocytic nevus"] == pytest.approx(by_label["melanoma"])
    assert by_label["melanoma"] == pytest.approx(SHARE["skin"] / 2)


def test_a_balance_written_as_a_whole_number_is_the_same_balance() -> None:
    whole, real = (sampling_weights(EXAMPLES, SHARE, balance) for balance in (0, 0.0))
    assert whole.tolist() == real.tolist()


def test_a_balance_between_is_the_counts_power() -> None:
    by_label = summed(sampling_weights(EXAMPLES, SHARE, 0.6), "label")
    assert by_label["melanocytic nevus"] / by_label["melanoma"] == pytest.approx(4**0.4)


def test_a_draw_is_a_function_of_seed_and_step() -> None:
    weights = sampling_weights(EXAMPLES, SHARE, 0.6)
    first, rng = draw(weights, 8, seed=1, step=5)
    again, rng_again = draw(weights, 8, seed=1, step=5)
    assert first.tolist() == again.tolist()
    assert rng.random() == rng_again.random()
    assert first.tolist() != draw(weights, 8, seed=1, step=6)[0].tolist()
    assert first.tolist() != draw(weights, 8, seed=2, step=5)[0].tolist()


def test_draws_follow_the_weights() -> None:
    weights = sampling_weights(EXAMPLES, SHARE, 1)
    picked, _ = draw(weights, 20_000, seed=0, step=0)
    share = np.bincount(picked, minlength=len(weights)) / len(picked)
    assert summed(share, "domain") == pytest.approx(SHARE, abs=0.02)
