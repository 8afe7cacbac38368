"""A Stable Diffusion pipeline from a folder: its adapter learns, resumes and draws."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from tests.training.synthetic.drawing_set import STABLE
from tests.training.synthetic.tiny_stable import SIDE, write_pipeline
from training.recipe import RecipeError
from training.synthetic.drawing import MODEL, Wanted, open_painter
from training.synthetic.material import Material
from training.synthetic.recipe import StableRecipe
from training.synthetic.stable_model import StableLearner
from training.synthetic.train import train_drawing

WEIGHTS = Path(MODEL) / "pytorch_lora_weights.safetensors"
ONE = Wanted("melanoma", "melanoma. dark, uneven.", 1)


class Stopped(Exception):
    """The run was interrupted at its first report."""


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> StableRecipe:
    return replace(STABLE, base=str(write_pipeline(tmp_path_factory.mktemp("stable"))))


def train(recipe: StableRecipe, material: Material, run: Path, *, stop: bool = False) -> None:
    def say(line: str) -> None:
        if stop and line.startswith("step"):
            raise Stopped

    train_drawing(StableLearner(recipe, material), recipe, material, run, say)


@pytest.fixture(scope="module")
def run(recipe: StableRecipe, material: Material, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("run")
    train(recipe, material, run)
    return run


def test_a_stopped_run_goes_on_to_the_same_adapter(
    recipe: StableRecipe, material: Material, run: Path, tmp_path: Path
) -> None:
    with pytest.raises(Stopped):
        train(recipe, material, tmp_path, stop=True)
    train(recipe, material, tmp_path)
    whole, resumed = load_file(run / WEIGHTS), load_file(tmp_path / WEIGHTS)
    assert whole.keys() == resumed.keys()
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    assert any(tensor.abs().max() > 0 for name, tensor in whole.items() if ".up." in name)


def test_only_the_adapter_learns(recipe: StableRecipe, material: Material) -> None:
    learner = StableLearner(recipe, material)
    learner.loss(material.train[:2], np.random.default_rng(0)).backward()
    names = set(learner.parts["adapter"].state_dict())
    assert len(names) == len(learner.trained)
    assert all("lora_" in name for name in names)
    assert all(weight.grad is not None for weight in learner.trained)


def test_it_draws_what_it_is_asked_with_the_adapter(recipe: StableRecipe, run: Path) -> None:
    strong = replace(recipe, drawing=replace(recipe.drawing, guidance=50.0))
    painter = open_painter(strong, run, lambda texts: np.zeros((len(texts), 1), np.float32))
    alone = painter.paint([ONE])[0]
    assert alone.shape == (SIDE, SIDE, 3)
    together = painter.paint([ONE, replace(ONE, seed=2), replace(ONE, caption="cataract")])
    assert np.abs(alone.astype(int) - together[0]).max() <= 1
    assert all((alone != other).any() for other in together[1:])


def test_a_base_that_is_not_there_is_named(material: Material) -> None:
    with pytest.raises(RecipeError, match="nowhere"):
        StableLearner(replace(STABLE, base="nowhere"), material)
