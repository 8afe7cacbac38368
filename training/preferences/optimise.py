"""Direct preference optimisation of a caption adapter, by TRL.

    accelerate launch -m training preferences CONFIG ...

The adapter that the clinic's release was made of is both where training begins and the reference
that it may not leave far behind: `beta` weighs the divergence, and the run stops where the held
captions diverge by more than `furthest`.

Reads downward: pairs, looks at what is held apart, steps.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path

from training.adapted import Adapted
from training.checkpoint import weights_hash
from training.looks import Looks, begin
from training.preferences.look import Look, describe, is_better, look, own_captions
from training.preferences.recipe import PreferenceRecipe
from training.preferences.shard import (
    Judged,
    held_apart,
    picture_of,
    preference_row,
    preferences,
)
from training.trl_run import TrlRun, rounds_a_step, trainer_settings


def prefer(
    adapted: Adapted,
    reference: Path,
    recipe: PreferenceRecipe,
    judged: Sequence[Judged],
    run: Path,
    say: Callable[[str], None],
) -> Path:
    """Train `adapted`, the adapter in the folder `reference`, further; returns the folder of the
    best weights.

    Kept are the weights of the look at which most of the chosen captions held apart were the
    likelier, of those that lost no label and stayed near. Resumes from the last checkpoint in
    `run`.
    Raises: RecipeError when the run was begun with another recipe, reference or pictures, or its
    pairs cannot be shared among the processes; DatasetError.
    """
    from datasets import Dataset
    from trl import DPOConfig, DPOTrainer

    settings = recipe.preferring
    rounds = rounds_a_step("preferring.pairs", settings.pairs, settings.pairs_at_once)
    learnt, held = held_apart(judged, settings.held, recipe.seed)
    made_of = {
        "reference_sha256": weights_hash(reference),
        "judged": len(judged),
        "shards": sorted({one.picture.parent.parent.name for one in judged}),
    }
    writes = begin(run, {**asdict(recipe), **made_of})

    side = adapted.side
    adapted.model.eval()
    accepted = [one.picture for one in judged if one.corrected is None]
    said = own_captions(adapted, [picture_of(picture, side) for picture in accepted])
    own = dict(zip(accepted, said, strict=True))
    train, seen = preferences(learnt, own), preferences(held, own)
    adapted.model.train()
    steps = math.ceil(settings.epochs * len(train) / settings.pairs)
    say(
        f"preferences: {len(train)} pairs of {len(learnt)} pictures, {steps} steps; held apart"
        f" {len(seen)} of {len(held)}"
    )
    better = partial(is_better, settings.furthest)
    looks = Looks(run / "looks.jsonl", Look, better, writes=writes)

    def take_look(step: int) -> Look:
        found = look(adapted, seen, held, step)
        say(describe(found, steps))
        return found

    def why_stop(looked: Sequence[Look]) -> str | None:
        too_far = looked[-1].divergence > settings.furthest
        return "the captions diverged too far from the reference's" if too_far else None

    def is_due(step: int) -> bool:
        return step % settings.look_every == 0 or step == steps

    trained = adapted.made_of
    compute = trained["recipe"]["quantization"]["compute"]
    return TrlRun(
        adapted, run, looks, look=take_look, is_due=is_due, why_stop=why_stop, say=say
    ).train(
        DPOTrainer,
        DPOConfig(
            **trainer_settings(run, recipe.seed, steps, settings.look_every, compute),
            learning_rate=settings.learning_rate,
            beta=settings.beta,
            max_grad_norm=settings.largest_gradient_norm,
            activation_checkpointing=settings.gradient_checkpointing,
            per_device_train_batch_size=settings.pairs_at_once,
            gradient_accumulation_steps=rounds,
            max_length=None,
        ),
        Dataset.from_list([preference_row(pair, side) for pair in train]),
        {**trained, "preferences": {**asdict(recipe), **made_of}},
    )
