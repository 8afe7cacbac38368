"""How a step of TRL's trainers is shared among processes."""

import pytest

from training.recipe import RecipeError
from training.trl_run import rounds_a_step


def test_a_step_is_taken_in_rounds() -> None:
    assert rounds_a_step("preferring.pairs", 12, 3) == 4


def test_a_step_that_cannot_be_shared_evenly_is_refused() -> None:
    with pytest.raises(RecipeError) as refused:
        rounds_a_step("preferring.pairs", 16, 3)
    assert str(refused.value) == (
        "preferring.pairs is 16: make it a multiple of pairs_at_once (3) times 1 processes"
    )
