"""A dry run's figures, against models that are really made."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from tests.training.qlora.test_qlora import RECIPE
from tests.training.qlora.tiny_gemma import tiny_gemma
from training.conversation import Conversation
from training.qlora.base import geometry_of
from training.qlora.command import qlora
from training.qlora.estimate import activation_bytes, base_bytes, row_flops
from training.qlora.geometry import KNOWN, BaseGeometry, read_geometry
from training.qlora.learner import PackLearner
from training.qlora.material import kept_tokens
from training.qlora.recipe import Quantization, read_qlora_recipe
from training.qlora.train import Material, add_adapter, load_base, pack_losses

CONFIGS = Path(__file__).resolve().parents[3] / "training" / "configs"


def config_of(geometry: BaseGeometry, **text: Any) -> Any:
    from transformers import Gemma3Config

    return Gemma3Config(
        text_config={
            "vocab_size": geometry.vocabulary,
            "hidden_size": geometry.width,
            "intermediate_size": geometry.feed_forward,
            "num_hidden_layers": geometry.depth,
            "num_attention_heads": geometry.heads,
            "num_key_value_heads": geometry.key_value_heads,
            "head_dim": geometry.head_width,
            **text,
        },
        vision_config={
            "hidden_size": geometry.vision_width,
            "intermediate_size": geometry.vision_feed_forward,
            "num_hidden_layers": geometry.vision_depth,
            "num_attention_heads": 16 if geometry.vision_width > 64 else 1,
            "image_size": geometry.image_size,
            "patch_size": geometry.patch_size,
            "vision_use_head": geometry.vision_head,
        },
        mm_tokens_per_image=geometry.image_tokens,
    )


@pytest.mark.parametrize(
    ("base", "weights"),
    [("google/medgemma-4b-it", 4_300_079_472), ("google/medgemma-27b-it", 27_432_406_640)],
)
def test_the_counts_are_those_of_the_model_transformers_builds(base: str, weights: int) -> None:
    from accelerate import init_empty_weights
    from transformers import Gemma3ForConditionalGeneration

    geometry = KNOWN[base]
    with init_empty_weights():
        model = Gemma3ForConditionalGeneration(config_of(geometry))
    model.tie_weights()
    parts = {
        "weights": [model],
        "vision_weights": [model.model.vision_tower, model.model.multi_modal_projector],
        "embedding_weights": [model.model.language_model.embed_tokens],
    }
    for part, modules in parts.items():
        found = sum(weight.numel() for module in modules for weight in module.parameters())
        assert getattr(geometry, part) == found
    linear = [m for m in model.model.language_model.modules() if type(m).__name__ == "Linear"]
    assert geometry.linear_weights == sum(layer.weight.numel() for layer in linear)
    assert geometry.weights == weights


@pytest.mark.parametrize("vision", ["frozen", "tuned"])
def test_the_adapter_is_as_large_as_peft_makes_it(vision: Any, tmp_path: Path) -> None:
    tiny_gemma().save_pretrained(tmp_path)
    geometry = read_geometry(tmp_path)
    assert geometry.weights == sum(weight.numel() for weight in tiny_gemma().parameters())
    recipe = replace(RECIPE, adapter=replace(RECIPE.adapter, vision=vision))
    model = add_adapter(tiny_gemma(), recipe)
    found = sum(weight.numel() for weight in model.parameters() if weight.requires_grad)
    assert geometry.adapter_weights(RECIPE.adapter.rank, vision == "tuned") == found


@pytest.mark.parametrize("double", [False, True])
def test_four_bit_weights_take_the_bytes_that_bitsandbytes_gives_them(
    double: bool, tmp_path: Path
) -> None:
    tiny_gemma().save_pretrained(tmp_path)
    quantization = Quantization("nf4", double=double, compute="bfloat16")
    model = load_base(str(tmp_path), quantization)
    layers = [module for module in model.modules() if type(module).__name__ == "Linear4bit"]
    states = [layer.weight.quant_state for layer in layers]
    constants = [state.absmax for state in states]
    constants += [state.state2.absmax for state in states if double]
    whole = [
        weight for weight in model.parameters() if not any(weight is one.weight for one in layers)
    ]
    assert list(base_bytes(read_geometry(tmp_path), quantization, tower=True).values()) == [
        sum(tensor.nbytes for tensor in tensors)
        for tensors in ([layer.weight for layer in layers], constants, whole)
    ]


WIDE_VOCABULARY = BaseGeometry(16_384, 128, 512, 3, 4, 2, 32, 32, 40, 1, True, 28, 14, 4)
DEEP = BaseGeometry(512, 256, 1024, 6, 4, 2, 64, 32, 40, 1, True, 28, 14, 4)


@pytest.mark.parametrize("geometry", [WIDE_VOCABULARY, DEEP], ids=["wide vocabulary", "deep"])
@pytest.mark.parametrize("compute", ["float32", "bfloat16"])
@pytest.mark.parametrize("checkpointing", [True, False])
def test_a_step_allocates_what_was_foretold_within_a_factor_of_one_and_a_half(
    geometry: BaseGeometry, compute: Any, checkpointing: bool
) -> None:
    import torch
    from transformers import Gemma3ForConditionalGeneration

    recipe = replace(
        RECIPE,
        adapter=replace(RECIPE.adapter, dropout=0.0),  # on a CPU its mask is a float tensor
        quantization=Quantization("none", double=False, compute=compute),
        steps=replace(RECIPE.steps, gradient_checkpointing=checkpointing),
    )
    marks = {"image_token_index": 7, "boi_token_index": 5, "eoi_token_index": 6}
    config = config_of(geometry, query_pre_attn_scalar=geometry.head_width, sliding_window=64)
    config.update(marks)
    dtype = getattr(torch, compute)
    model = add_adapter(Gemma3ForConditionalGeneration(config).to(dtype), recipe)
    learner = PackLearner(model, compute).train()
    material, images = four_lessons(geometry), np.arange(4)

    def step() -> None:
        pack_losses(learner, material, images, images * 0, "cpu").sum().backward()

    step()  # so that gradients are allocated
    foretold = sum(activation_bytes(geometry, recipe, 4 * 150, 4 * 50, images=4).values())
    assert foretold / 1.5 < most_allocated(step) < foretold * 1.5


def four_lessons(geometry: BaseGeometry) -> Material:
    """Of 150 tokens, 50 of them learnt."""
    image = (False,) * 2 + (True,) * 4 + (False,) * 144
    ids = (2, 3, 7, 7, 7, 7, *(8 + place for place in range(144)))
    weights = (0.0,) * 100 + (1.0,) * 50
    kept = np.zeros((4, 1, geometry.image_tokens, geometry.width), np.float16)
    lessons = [Conversation(ids, weights, image)] * 4
    places = np.arange(4)
    return Material(lessons, kept_tokens(kept), 1, places, places, np.full(4, 0.25), "")


def most_allocated(step: Any) -> int:
    """Bytes on the CPU at the worst moment, beyond those held before."""
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        step()
    events = [e for e in profiler.profiler.kineto_results.events() if e.name() == "[memory]"]
    events.sort(key=lambda event: event.start_ns())
    return int(np.cumsum([event.nbytes() for event in events]).max())


def test_a_token_costs_six_operations_a_weight_with_gradient_checkpointing() -> None:
    geometry = KNOWN["google/medgemma-4b-it"]
    one = row_flops(geometry, recomputed=True, row=1, learnt=0)
    assert one == pytest.approx(6 * geometry.linear_weights, rel=0.01)


def test_a_dry_run_needs_the_recipe_only() -> None:
    result = CliRunner().invoke(
        qlora, ["--config", str(CONFIGS / "medgemma-4b-it.toml"), "--dry-run"]
    )
    assert result.exit_code == 0, result.output
    for figure in ("4,300,079,472 in the base", "29,802,496 learnt", "1.604 GB  base in four bits"):
        assert figure in result.output
    assert "assumed 1676 captions" in result.output
    assert "30% of 312 TFLOP/s (assumed" in result.output


def test_a_dry_run_counts_the_captions_it_is_given(data: Path, captions_file: Path) -> None:
    config = str(CONFIGS / "medgemma-4b-it.toml")
    arguments = ["--config", config, "--dry-run", "--data", str(data), "--captions"]
    result = CliRunner().invoke(qlora, [*arguments, str(captions_file)])
    assert result.exit_code == 0, result.output
    count = len(captions_file.read_text(encoding="utf-8").splitlines())
    assert f"({count} captions, 4 characters a token assumed)" in result.output


def test_a_faster_accelerator_takes_less_time() -> None:
    config = str(CONFIGS / "medgemma-27b-it.toml")
    slow, fast = (
        CliRunner().invoke(qlora, ["--config", config, "--dry-run", "--tflops", tflops]).output
        for tflops in ("100", "1000")
    )
    rate = [int(text.split()[-2].replace(",", "")) for text in (slow.strip(), fast.strip())]
    assert rate[1] == pytest.approx(10 * rate[0], rel=0.01)


def test_every_committed_recipe_has_a_known_geometry() -> None:
    for file in CONFIGS.glob("medgemma*.toml"):
        assert geometry_of(read_qlora_recipe(file).base).weights > 4e9
