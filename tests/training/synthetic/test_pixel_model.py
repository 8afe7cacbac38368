"""The demonstration's drawing model: it learns, resumes, is told things, and draws by seed."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from tests.training.synthetic.drawing_set import PIXELS, made_up_vectors
from training.atlas.material import Floats
from training.labels import label_set
from training.recipe import RecipeError
from training.synthetic.drawing import MODEL, Wanted, open_painter
from training.synthetic.material import Material
from training.synthetic.pixel_model import (
    NO_LABEL,
    PixelLearner,
    build_scheduler,
    some_left_out,
    turned,
)
from training.synthetic.recipe import PixelRecipe
from training.synthetic.train import (
    denoising_loss,
    held_loss,
    noised,
    train_drawing,
)

WEIGHTS = Path(MODEL) / "unet" / "diffusion_pytorch_model.safetensors"


class Stopped(Exception):
    """The run was interrupted at its first report, when a checkpoint is on disk."""


def stop_at_first_report(line: str) -> None:
    if line.startswith("step"):
        raise Stopped


def trained(recipe: PixelRecipe, material: Material, run: Path) -> list[str]:
    """The lines that the run said."""
    lines: list[str] = []
    learner = PixelLearner(recipe, material, made_up_vectors(material))
    train_drawing(learner, recipe, material, run, lines.append)
    return lines


def same_weights(one: Path, other: Path) -> bool:
    a, b = load_file(one / WEIGHTS), load_file(other / WEIGHTS)
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.fixture(scope="module")
def run(material: Material, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("run")
    trained(PIXELS, material, run)
    return run


def test_a_stopped_run_goes_on_to_the_same_weights_and_the_same_curve(
    material: Material, run: Path, tmp_path: Path
) -> None:
    learner = PixelLearner(PIXELS, material, made_up_vectors(material))
    with pytest.raises(Stopped):
        train_drawing(learner, PIXELS, material, tmp_path, stop_at_first_report)
    assert not (tmp_path / MODEL).exists()
    assert "from 3" in trained(PIXELS, material, tmp_path)[0]
    assert same_weights(tmp_path, run)
    assert (tmp_path / "loss.svg").read_bytes() == (run / "loss.svg").read_bytes()


def test_another_seed_gives_other_weights(material: Material, run: Path, tmp_path: Path) -> None:
    trained(replace(PIXELS, seed=1), material, tmp_path)
    assert not same_weights(tmp_path, run)


def test_a_run_begun_with_another_recipe_is_refused(material: Material, run: Path) -> None:
    with pytest.raises(RecipeError, match="another recipe"):
        trained(replace(PIXELS, average_decay=0.5), material, run)
    others = replace(material, inputs={**material.inputs, "captions_sha256": "ab" * 32})
    with pytest.raises(RecipeError, match=r"other inputs.*captions"):
        trained(PIXELS, others, run)


def test_it_learns(material: Material, tmp_path: Path) -> None:
    recipe = replace(
        PIXELS, steps=replace(PIXELS.steps, epochs=8, learning_rate=1e-2, save_every=100)
    )
    learner = PixelLearner(recipe, material, made_up_vectors(material))
    learnt = [material.train[:20]]
    before = held_loss(learner, learnt)
    train_drawing(learner, recipe, material, tmp_path, print)
    assert held_loss(learner, learnt) < before / 2


def vectors_of(texts: Sequence[str]) -> Floats:
    return np.array([[len(text) % 2, *[0.0] * 7] for text in texts], np.float32)


def test_a_picture_depends_on_its_seed_label_and_caption_and_not_on_its_neighbours(
    run: Path,
) -> None:
    # Untrained: guidance makes what label and caption change large enough to see.
    recipe = replace(PIXELS, drawing=replace(PIXELS.drawing, guidance=200.0))
    painter = open_painter(recipe, run, vectors_of)
    one = Wanted("melanoma", "odd", 1)
    others = [
        replace(one, seed=2),
        replace(one, label="cataract"),
        replace(one, caption="even"),
        replace(one, caption=None),
    ]
    alone = painter.paint([one])[0]
    together = painter.paint([one, *others])
    assert alone.shape == (16, 16, 3)
    assert np.abs(alone.astype(int) - together[0]).max() <= 1
    assert all((alone != other).any() for other in together[1:])


def test_a_run_without_a_model_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="synthetic train"):
        open_painter(PIXELS, tmp_path, vectors_of)


def test_chest_radiographs_are_never_turned() -> None:
    images = torch.arange(64.0).view(4, 1, 4, 4)
    upright = np.array([True, True, False, False])
    seen = [turned(images, upright, np.random.default_rng(seed)) for seed in range(20)]
    assert all(torch.equal(each[:2], images[:2]) for each in seen)
    assert any(not torch.equal(each[2:], images[2:]) for each in seen)


def test_labels_and_captions_are_left_out_as_often_as_the_recipe_says() -> None:
    labels, vectors = torch.zeros(20_000, dtype=torch.long), torch.ones(20_000, 2)
    found, told = some_left_out(labels, vectors, 0.1, np.random.default_rng(0))
    no_label, no_caption = found == NO_LABEL, told.sum(1) == 0
    for share in (no_label & ~no_caption, no_caption & ~no_label, no_label & no_caption):
        assert float(share.float().mean()) == pytest.approx(0.1, abs=0.01)
    assert len(label_set()) == NO_LABEL


def test_noise_of_every_strength_stands_in_a_batch() -> None:
    scheduler, rng = build_scheduler(), np.random.default_rng(0)
    clean = torch.zeros(10, 1, 2, 2)
    noisy, times, noise = noised(scheduler, clean, rng)
    assert sorted(int(time) // 100 for time in times) == list(range(10))
    last = int(times.argmax())
    assert torch.allclose(noisy[last], noise[last], atol=0.02)


def test_the_whole_answer_costs_nothing_and_little_noise_weighs_more() -> None:
    scheduler = build_scheduler()
    clean, noise = torch.ones(1, 1, 2, 2), torch.zeros(1, 1, 2, 2)
    early, late = torch.tensor([5]), torch.tensor([995])
    assert float(denoising_loss(scheduler, clean, clean, noise, early)) == 0
    assert float(denoising_loss(scheduler, noise, clean, noise, early)) == pytest.approx(6.0)
    assert float(denoising_loss(scheduler, noise, clean, noise, late)) == pytest.approx(1, abs=0.01)
