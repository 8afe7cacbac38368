"""The adapter's training: what it changes, and that a kill changes nothing."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.training.qlora.tiny_gemma import IMAGE_TOKENS, WIDTH, lesson, tiny_gemma
from tests.training.two_processes import launched
from training.qlora.material import kept_tokens
from training.qlora.recipe import Adapter, QloraRecipe, Quantization, Steps, read_qlora_recipe
from training.qlora.train import Material, add_adapter, train_adapter

LESSONS = 12
RECIPE = QloraRecipe(
    name="tiny",
    seed=0,
    base="",
    adapter=Adapter(rank=4, alpha=4, dropout=0.1, vision="frozen"),
    quantization=Quantization("none", double=False, compute="float32"),
    steps=Steps(
        learning_rate=1e-2,
        warm_up_share=0.1,
        weight_decay=0.0,
        largest_gradient_norm=0.3,
        batch=4,
        pack_tokens=48,
        epochs=3,
        views=1,
        keeps_sides=False,
        label_weight=2.0,
        balance=0.0,
        domain_share={},
        gradient_checkpointing=False,
        save_every=2,
        patience=99,
        validated=4,
    ),
)


def material() -> Material:
    rng = np.random.default_rng(0)
    features = rng.normal(0, 1, (LESSONS, 2, IMAGE_TOKENS, WIDTH)).astype(np.float16)
    return Material(
        lessons=[lesson(seed) for seed in range(LESSONS)],
        image_tokens=kept_tokens(features),
        views=1,
        train=np.arange(8),
        validation=np.arange(8, LESSONS),
        weights=np.full(8, 1 / 8),
        images_sha256="",
    )


def trained(run: Path, recipe: QloraRecipe = RECIPE, stop_after: int | None = None) -> Any:
    """The adapter's weights after a run, which is broken off at a report if asked."""
    from peft import get_peft_model_state_dict

    lines: list[str] = []

    def say(line: str) -> None:
        lines.append(line)
        if stop_after is not None and line.startswith(f"step {stop_after}/"):
            raise KeyboardInterrupt

    model = add_adapter(tiny_gemma(), recipe)
    train_adapter(model, recipe, material(), "", run, say)
    return get_peft_model_state_dict(model), lines


def test_a_run_lowers_the_loss_and_keeps_the_base(tmp_path: Path) -> None:
    import torch

    model = add_adapter(tiny_gemma(), RECIPE)
    train_adapter(model, RECIPE, material(), "", tmp_path, lambda line: None)
    base = tiny_gemma().state_dict()
    for name, weight in model.get_base_model().state_dict().items():
        if "lora_" not in name:
            assert torch.equal(weight, base[name.replace(".base_layer", "")]), name
    assert (tmp_path / "adapter" / "adapter_model.safetensors").is_file()
    assert (tmp_path / "adapter" / "training.json").is_file()


def test_the_adapter_sits_on_every_linear_layer_of_the_decoder_only() -> None:
    model = add_adapter(tiny_gemma(), RECIPE)
    places = {name for name, _ in model.named_parameters() if "lora_A" in name}
    assert len(places) == 7 * 7
    assert not any("vision_tower" in name for name in places)
    tuned = replace(RECIPE, adapter=replace(RECIPE.adapter, vision="tuned"))
    model = add_adapter(tiny_gemma(), tuned)
    vision = [name for name, _ in model.named_parameters() if "lora_A" in name and "tower" in name]
    assert len(vision) == 6


@pytest.mark.parametrize("stop_after", [2, 4])
def test_a_run_broken_off_goes_on_to_the_same_weights(tmp_path: Path, stop_after: int) -> None:
    import torch

    whole, _ = trained(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path / "broken", stop_after=stop_after)
    resumed, lines = trained(tmp_path / "broken")
    assert f"from {stop_after - 2}" in lines[0]
    assert whole.keys() == resumed.keys()
    for name in whole:
        assert torch.equal(whole[name], resumed[name]), name


def test_packing_and_kept_images_change_no_step(tmp_path: Path) -> None:
    plain = replace(RECIPE, adapter=replace(RECIPE.adapter, dropout=0.0))
    alone = replace(plain, steps=replace(plain.steps, pack_tokens=1))
    losses = []
    for name, recipe in (("packed", plain), ("alone", alone)):
        _, lines = trained(tmp_path / name, recipe)
        losses.append([float(line.split()[4]) for line in lines[1:]])
    assert losses[0] == pytest.approx(losses[1], rel=0.01)


def test_it_stops_when_it_learns_nothing_more(tmp_path: Path) -> None:
    settings = replace(RECIPE.steps, learning_rate=0.0, patience=1)
    _, lines = trained(tmp_path, replace(RECIPE, steps=settings))
    assert lines[-1].startswith("stopped")


@pytest.mark.slow
def test_two_processes_learn_what_one_does(tmp_path: Path) -> None:
    import torch

    plain = replace(RECIPE, adapter=replace(RECIPE.adapter, dropout=0.0))
    one, _ = trained(tmp_path / "one", plain)
    script = (
        "import sys\n"
        "from dataclasses import replace\n"
        "from pathlib import Path\n"
        "sys.path.insert(0, sys.argv[2])\n"
        "from tests.training.qlora.test_qlora import RECIPE, trained\n"
        "from training.processes import processes\n"
        "assert processes().num_processes == 2\n"
        "trained(Path(sys.argv[1]), replace(RECIPE, adapter=replace(RECIPE.adapter, dropout=0.0)))"
    )
    file = tmp_path / "two.py"
    file.write_text(script)
    root = str(Path(__file__).resolve().parents[3])
    launched(str(file), str(tmp_path / "two"), root)
    two, _ = trained(tmp_path / "two", plain)
    for name in one:
        assert torch.allclose(one[name], two[name], atol=1e-5), name


def test_nf4_holds_the_decoder_in_four_bits_and_the_tower_whole(tmp_path: Path) -> None:
    from training.qlora.train import load_base

    tiny_gemma().save_pretrained(tmp_path / "base")
    model = load_base(str(tmp_path / "base"), Quantization("nf4", double=True, compute="float32"))
    four_bit = {name for name, m in model.named_modules() if type(m).__name__ == "Linear4bit"}
    assert len(four_bit) == 7 * 7
    assert all("language_model" in name for name in four_bit)
    nf4 = replace(RECIPE, quantization=Quantization("nf4", double=True, compute="float32"))
    adapted = add_adapter(model, nf4)
    train_adapter(adapted, nf4, material(), "", tmp_path / "run", lambda line: None)
    assert (tmp_path / "run" / "adapter" / "adapter_model.safetensors").is_file()


def test_a_validation_takes_no_gradient_from_the_four_bit_base(tmp_path: Path) -> None:
    import torch

    from training.qlora.learner import PackLearner
    from training.qlora.train import load_base, pack_losses

    tiny_gemma().save_pretrained(tmp_path)
    nf4 = replace(
        RECIPE,
        adapter=replace(RECIPE.adapter, dropout=0.0),
        quantization=Quantization("nf4", double=True, compute="float32"),
    )
    adapted = add_adapter(load_base(str(tmp_path), nf4.quantization), nf4)
    model = PackLearner(adapted, "float32")
    lessons, images = material(), np.arange(2)

    def gradients() -> dict[str, Any]:
        model.train()
        model.zero_grad()
        pack_losses(model, lessons, images, images * 0, "cpu").sum().backward()
        weights = dict(model.named_parameters()).items()
        return {name: weight.grad.clone() for name, weight in weights if weight.grad is not None}

    before = gradients()
    model.eval()
    with torch.no_grad():
        pack_losses(model, lessons, images, images * 0, "cpu")
    after = gradients()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert sum(gradient.abs().sum() for gradient in after.values()) > 0


@pytest.mark.parametrize("name", ["medgemma-4b-it", "medgemma-1.5-4b-it", "medgemma-27b-it"])
def test_the_committed_recipes_read(name: str) -> None:
    configs = Path(__file__).resolve().parents[3] / "training" / "configs"
    recipe = read_qlora_recipe(configs / f"{name}.toml")
    assert recipe.base == f"google/{name}"
    assert (recipe.adapter.rank, recipe.adapter.alpha, recipe.quantization.kind) == (16, 16, "nf4")


def test_the_views_of_a_chest_film_are_moved_as_little_as_its_caption_allows() -> None:
    import torch

    from training.pixels import augment, plain
    from training.qlora.projected import view_of

    film = np.random.default_rng(0).integers(0, 256, (1, 40, 40, 3), dtype=np.uint8)
    upright, seed = np.array([True]), (0, 0, 1)
    moved = view_of(film, upright, 32, seed)
    rng = np.random.default_rng(seed)
    assert torch.equal(moved, augment(film, upright, 32, rng, gentle=True))
    assert torch.equal(view_of(film, upright, 32, (0, 0, 0)), plain(film, 32))
