"""Claims about recipes: every setting is in the file, and nothing else is."""

import re
import tomllib
from pathlib import Path

import pytest

from training.__main__ import DEMONSTRATION
from training.recipe import RecipeError, read_recipe


def test_the_committed_demonstration_recipe_can_be_read() -> None:
    recipe = read_recipe(DEMONSTRATION)
    written = tomllib.loads(DEMONSTRATION.read_text(encoding="utf-8"))
    assert recipe.name == "demonstration"
    assert vars(recipe.geometry) == written["geometry"]
    assert vars(recipe.captioner) == written["captioner"]


def test_the_demonstration_draws_from_every_domain_in_whole_shares() -> None:
    recipe = read_recipe(DEMONSTRATION)
    for section in (recipe.tower, recipe.captioner):
        assert set(section.domain_share) == {"skin", "fundus", "chest"}
        assert sum(section.domain_share.values()) == pytest.approx(1)


def test_the_demonstrations_soft_tokens_pool_whole_patches() -> None:
    geometry = read_recipe(DEMONSTRATION).geometry
    side = geometry.image_size / geometry.patch_size / geometry.image_tokens**0.5
    assert side == int(side)


def without(text: str, section: str, key: str) -> str:
    """`text` without the line of `key`, the first after `section`."""
    before, mark, after = text.partition(section or "\n")
    kept, removed = re.subn(rf"(?m)^{key} = .*\n", "", after, count=1)
    assert removed
    return before + mark + kept


@pytest.mark.parametrize(
    ("section", "key"), [("", "seed"), ("[geometry]", "patch_size"), ("[captioner]", "epochs")]
)
def test_a_missing_setting_is_an_error_naming_file_and_key(
    tmp_path: Path, section: str, key: str
) -> None:
    file = tmp_path / "recipe.toml"
    file.write_text(without(DEMONSTRATION.read_text("utf-8"), section, key), "utf-8")
    with pytest.raises(RecipeError, match=rf"recipe\.toml.*{re.escape(section)}.*`{key}` is miss"):
        read_recipe(file)


@pytest.mark.parametrize(("section", "key"), [("", "threads"), ("[tower]", "dropout")])
def test_an_unknown_setting_is_an_error_naming_file_and_key(
    tmp_path: Path, section: str, key: str
) -> None:
    text = DEMONSTRATION.read_text("utf-8")
    file = tmp_path / "recipe.toml"
    file.write_text(
        text.replace(section, f"{section}\n{key} = 2\n", 1) if section else f"{key} = 2\n{text}",
        "utf-8",
    )
    with pytest.raises(RecipeError, match=rf"{re.escape(section)}.*`{key}` is not a setting"):
        read_recipe(file)


def test_rounds_of_unequal_number_are_an_error_naming_the_key(tmp_path: Path) -> None:
    file = tmp_path / "recipe.toml"
    text = DEMONSTRATION.read_text("utf-8")
    file.write_text(re.sub(r"(?m)^mixup_share = .*", "mixup_share = [0.1]", text), "utf-8")
    with pytest.raises(RecipeError, match="`mixup_share` has 1 entries, `epochs` 2"):
        read_recipe(file)


def test_a_missing_section_is_an_error(tmp_path: Path) -> None:
    file = tmp_path / "recipe.toml"
    file.write_text('name = "none"\nseed = 0\n', encoding="utf-8")
    with pytest.raises(RecipeError, match=r"\[geometry\] .* is missing"):
        read_recipe(file)
