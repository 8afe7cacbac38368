"""DPO on a tiny captioner: what it learns, where it stops, and that a kill changes nothing."""

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.training.qlora.test_command import write_base as write_wide_base
from tests.training.two_processes import launched
from training.adapted import Adapted, chat_processor, load_adapted
from training.checkpoint import weights_hash
from training.conversation import conversation
from training.looks import Looks
from training.preferences.look import Look, is_better
from training.preferences.optimise import prefer
from training.preferences.recipe import (
    PreferenceRecipe,
    Preferring,
    read_preference_recipe,
)
from training.preferences.shard import preference_row, preferences, read_shards
from training.qlora.base import BaseModelError
from training.qlora.recipe import read_qlora_recipe
from training.qlora.train import add_adapter, load_base
from training.recipe import RecipeError

CONFIGS = Path(__file__).resolve().parents[3] / "training" / "configs"
MEDGEMMA_QLORA = CONFIGS / "medgemma-4b-it.toml"
STEPS = 6
RECIPE = PreferenceRecipe(
    "tiny",
    0,
    Preferring(
        learning_rate=5e-3,
        beta=0.1,
        furthest=1e9,
        pairs=3,
        pairs_at_once=3,
        epochs=STEPS / 3,  # of 9 pairs
        largest_gradient_norm=1.0,
        gradient_checkpointing=False,
        look_every=2,
        held=0.25,
    ),
)
Say = Callable[[str], None]


def preferred(
    reference: Path, shards: Path, run: Path, say: Say, recipe: PreferenceRecipe = RECIPE
) -> Adapted:
    adapted = load_adapted(reference, learns=True)
    prefer(adapted, reference, recipe, read_shards(shards), run, say)
    return adapted


def looks(run: Path) -> list[Look]:
    return Looks(run / "looks.jsonl", Look, partial(is_better, 1e9), writes=False).seen


def test_corrections_gain_and_a_kill_changes_nothing(
    reference: Path, shards: Path, tmp_path: Path
) -> None:
    import torch

    lines: list[str] = []
    whole = preferred(reference, shards, tmp_path / "whole", lines.append)
    first, *_, last = looks(tmp_path / "whole")
    assert (first.gained, first.margin, first.divergence) == (0.0, 0.0, 0.0)
    assert last.gained == 1.0 and last.margin > 1 and last.divergence > 0.01
    assert lines[0].startswith(f"preferences: 9 pairs of 12 pictures, {STEPS} steps")

    def breaking_off(line: str) -> None:
        if line.startswith("step 4/"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        preferred(reference, shards, tmp_path / "broken", breaking_off)
    again: list[str] = []
    resumed = preferred(reference, shards, tmp_path / "broken", again.append)
    assert [line.split()[1] for line in again if line.startswith("step")] == ["4/6", "6/6"]
    weights = dict(whole.model.named_parameters())
    for name, weight in resumed.model.named_parameters():
        assert torch.equal(weight, weights[name]), name
    assert looks(tmp_path / "broken") == looks(tmp_path / "whole")


def test_what_is_written_says_what_it_was_made_of(
    reference: Path, shards: Path, tmp_path: Path
) -> None:
    short = replace(RECIPE, preferring=replace(RECIPE.preferring, furthest=0.0))
    lines: list[str] = []
    preferred(reference, shards, tmp_path, lines.append, short)
    assert lines[-2] == "stopped: the captions diverged too far from the reference's"
    assert len(looks(tmp_path)) == 2
    assert lines[-1] == "kept the weights of step 0", "the last are too far away"
    made_of = json.loads((tmp_path / "adapter" / "training.json").read_text())
    trained = json.loads((reference / "training.json").read_text())
    assert {key: made_of[key] for key in trained} == trained
    (shard,) = shards.iterdir()
    assert made_of["preferences"]["shards"] == [shard.name]
    load_adapted(tmp_path / "adapter")
    other = replace(short, seed=1)
    with pytest.raises(RecipeError, match="begun with another recipe"):
        preferred(reference, shards, tmp_path, lines.append, other)


def test_the_last_step_is_looked_at_too(reference: Path, shards: Path, tmp_path: Path) -> None:
    one_step = replace(RECIPE, preferring=replace(RECIPE.preferring, epochs=1 / 3, pairs=9))
    preferred(reference, shards, tmp_path, print, one_step)
    assert [look.step for look in looks(tmp_path)] == [0, 1]


def test_trl_learns_the_captions_as_they_are_taught(reference: Path, shards: Path) -> None:
    from trl.trainer.dpo_trainer import DataCollatorForVisionPreference

    adapted = load_adapted(reference)
    judged = read_shards(shards)
    pair = preferences(judged, {one.picture: None for one in judged})[0]
    collate = DataCollatorForVisionPreference(chat_processor(adapted))
    batch: Any = collate.torch_call([preference_row(pair, 32)])
    for row, caption in enumerate((pair.chosen, pair.rejected)):
        taught = conversation(adapted.tokenizer, 4, caption, 1.0)
        length = len(taught.ids)
        assert batch["input_ids"][row].tolist()[:length] == [*taught.ids]
        learnt = [weight > 0 for weight in taught.weights]
        assert batch["completion_mask"][row].bool().tolist()[:length] == learnt
        assert not batch["attention_mask"][row][length:].any()


def test_a_base_that_was_replaced_is_refused(reference: Path, tmp_path: Path) -> None:
    made_of = json.loads((reference / "training.json").read_text())
    (tmp_path / "training.json").write_text(json.dumps({**made_of, "base_sha256": "0" * 64}))
    with pytest.raises(BaseModelError, match="was not trained on the weights"):
        load_adapted(tmp_path)
    (tmp_path / "training.json").write_text(json.dumps({"recipe": made_of["recipe"]}))
    with pytest.raises(BaseModelError, match="says which base it was trained on"):
        load_adapted(tmp_path)


def test_weights_that_lose_a_label_or_go_too_far_are_not_kept() -> None:
    first = Look(0, preferred=0.1, gained=0.0, margin=0.0, label_accuracy=0.7, divergence=0.0)
    assert is_better(5, replace(first, preferred=0.5, divergence=5), first, first)
    assert is_better(5, replace(first, margin=0.5), first, first)
    assert not is_better(5, replace(first, preferred=0.5, label_accuracy=0.6), first, first)
    assert not is_better(5, replace(first, preferred=0.5, divergence=5.1), first, first)


@pytest.mark.parametrize("name", ["demonstration", "medgemma-4b-it"])
def test_the_committed_recipes_read(name: str) -> None:
    found = read_preference_recipe(CONFIGS / f"preferences-{name}.toml").preferring
    assert found.pairs % found.pairs_at_once == 0


def test_a_share_that_is_none_is_refused(tmp_path: Path) -> None:
    text = (CONFIGS / "preferences-demonstration.toml").read_text()
    (tmp_path / "own.toml").write_text(text.replace("held = 0.25", "held = 25"))
    with pytest.raises(RecipeError, match="`held` is 25"):
        read_preference_recipe(tmp_path / "own.toml")


@pytest.mark.slow
def test_medgemmas_recipe_is_followed_on_two_processes_and_four_bits(
    reference: Path, shards: Path, tmp_path: Path
) -> None:
    import torch
    from safetensors.torch import load_file

    made_of = json.loads((reference / "training.json").read_text())
    base = tmp_path / "base"
    write_wide_base(base)
    recipe = replace(read_qlora_recipe(MEDGEMMA_QLORA), base=str(base))
    adapter = add_adapter(load_base(recipe.base, recipe.quantization), recipe)
    adapter.save_pretrained(tmp_path / "reference")
    made_of["recipe"] = asdict(recipe)
    made_of["base_sha256"] = weights_hash(base)
    (tmp_path / "reference" / "training.json").write_text(json.dumps(made_of))
    config = tmp_path / "recipe.toml"
    text = (CONFIGS / "preferences-medgemma-4b-it.toml").read_text()
    config.write_text(text.replace("look_every = 25", "look_every = 1"))
    places = ["--reference", str(tmp_path / "reference"), "--shards", str(shards)]
    said = launched(
        "-m", "training", "preferences", str(config), *places, "--run", str(tmp_path / "run")
    )
    assert said.count("kept the weights of step") == 2
    weights = load_file(tmp_path / "run" / "adapter" / "adapter_model.safetensors")
    assert {weight.dtype for weight in weights.values()} == {torch.float32}
