"""Recipes of both kinds, and what is wrong with one."""

from pathlib import Path

import pytest

from training.recipe import RecipeError
from training.synthetic.recipe import (
    CONFIGS,
    DEMONSTRATION,
    PixelRecipe,
    StableRecipe,
    read_synthetic_recipe,
)


def test_the_committed_recipes_are_of_both_kinds() -> None:
    assert isinstance(read_synthetic_recipe(DEMONSTRATION), PixelRecipe)
    stable = read_synthetic_recipe(CONFIGS / "synthetic-stable-diffusion.toml")
    assert isinstance(stable, StableRecipe)


def test_a_setting_that_is_none_is_named(tmp_path: Path) -> None:
    file = tmp_path / "recipe.toml"
    text = DEMONSTRATION.read_text(encoding="utf-8")
    file.write_text(text.replace("guidance", "guidanse"), encoding="utf-8")
    with pytest.raises(RecipeError, match=r"\[drawing\] `guidance` is missing"):
        read_synthetic_recipe(file)


def test_what_is_no_toml_is_said(tmp_path: Path) -> None:
    file = tmp_path / "recipe.toml"
    file.write_text("name = ", encoding="utf-8")
    with pytest.raises(RecipeError, match="not TOML"):
        read_synthetic_recipe(file)
