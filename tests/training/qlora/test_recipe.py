"""What a QLoRA recipe may not say, and that the message names it."""

import re
from pathlib import Path

import pytest

from training.qlora.recipe import read_qlora_recipe
from training.recipe import RecipeError
from training.treatment.recipe import read_treatment_recipe

CONFIGS = Path(__file__).resolve().parents[3] / "training" / "configs"

WRONG = [
    ("kind", '"NF4"', "[quantization] `kind` is not one of nf4, none"),
    ("vision", '"full"', "[adapter] `vision` is not one of frozen, tuned"),
    ("compute", '"bf16"', "[quantization] `compute` is not one of bfloat16, float32"),
    ("double", '"yes"', "[quantization] `double` is not true or false"),
    ("keeps_sides", '"no"', "[steps] `keeps_sides` is not true or false"),
    ("views", "0", "[steps] `views` is not a whole number above 0"),
    ("batch", "0", "[steps] `batch` is not a whole number above 0"),
    ("rank", "16.5", "[adapter] `rank` is not a whole number above 0"),
    ("epochs", "0", "[steps] `epochs` is not above 0"),
    ("dropout", "1.5", "[adapter] `dropout` is not below 1"),
    ("learning_rate", '"2e-4"', "[steps] `learning_rate` is not a number from 0 up"),
    ("balance", "-1", "[steps] `balance` is not a number from 0 up"),
    ("domain_share", "{ Skin = 1.0 }", "[steps] `domain_share` is not a table of skin, fundus"),
    ("domain_share", "{ skin = -1 }", "[steps] `domain_share`: skin is not a number from 0 up"),
    ("domain_share", "{ skin = 0 }", "[steps] `domain_share` leaves every domain out"),
    ("seed", '"0"', "`seed` is not a whole number"),
]


@pytest.mark.parametrize(("key", "value", "problem"), WRONG)
def test_a_value_that_cannot_be_followed_is_refused(
    key: str, value: str, problem: str, tmp_path: Path
) -> None:
    for name, read in (
        ("medgemma-4b-it", read_qlora_recipe),
        ("treatment-medgemma-4b-it", read_treatment_recipe),
    ):
        text = (CONFIGS / f"{name}.toml").read_text(encoding="utf-8")
        text, found = re.subn(rf"(?m)^{key} = .*$", f"{key} = {value}", text, count=1)
        assert found == 1
        config = tmp_path / "recipe.toml"
        config.write_text(text, encoding="utf-8")
        with pytest.raises(RecipeError, match=re.escape(f"{config}: {problem}")):
            read(config)
