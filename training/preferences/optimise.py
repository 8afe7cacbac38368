"""Direct preference optimisation of a caption adapter, by TRL.

    accelerate launch -m training preferences CONFIG ...

The adapter that the clinic's release was made of is both where training begins and the reference
that it may not leave far behind: `beta` weighs the divergence, and the run stops where the held
captions diverge by more than `furthest`.

Reads downward: pairs, looks at what is held apart, steps.
"""

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from training.adapted import Adapted, chat_processor, hold_whole, learnt_weights
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
from training.processes import processes
from training.recipe import RecipeError


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
    import torch
    from datasets import Dataset
    from transformers import TrainerCallback
    from transformers.trainer_utils import get_last_checkpoint
    from trl import DPOConfig, DPOTrainer

    settings = recipe.preferring
    count = processes().num_processes
    if settings.pairs % (settings.pairs_at_once * count):
        raise RecipeError(
            f"preferring.pairs is {settings.pairs}: make it a multiple of pairs_at_once "
            f"({settings.pairs_at_once}) times {count} processes"
        )
    learnt, held = held_apart(judged, settings.held, recipe.seed)
    made_of = {
        "reference_sha256": weights_hash(reference),
        "judged": len(judged),
        "shards": sorted({one.picture.parent.parent.name for one in judged}),
    }
    writes = begin(run, {**asdict(recipe), **made_of})

    side = adapted.model.config.vision_config.image_size
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

    class Watch(TrainerCallback):
        def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            looks.forget_after(state.global_step)
            if not looks.seen:
                self.take(state.global_step)

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if state.global_step % settings.look_every == 0 or state.global_step == steps:
                found = self.take(state.global_step)
                if found.divergence > settings.furthest:
                    say("stopped: the captions diverged too far from the reference's")
                    control.should_training_stop = True

        def take(self, step: int) -> Look:
            adapted.model.eval()
            found = look(adapted, seen, held, step)
            adapted.model.train()
            say(describe(found, steps))
            if looks.add(found) and writes:
                adapted.model.save_pretrained(run / "adapter", selected_adapters=["default"])
            return found

    trained = json.loads((reference / "training.json").read_text(encoding="utf-8"))
    compute = trained["recipe"]["quantization"]["compute"]
    taught = learnt_weights(adapted.model)
    trainer = DPOTrainer(
        model=adapted.model,
        train_dataset=Dataset.from_list([preference_row(pair, side) for pair in train]),
        processing_class=chat_processor(adapted),
        callbacks=[Watch()],
        args=DPOConfig(
            output_dir=str(run),
            seed=recipe.seed,
            max_steps=steps,
            learning_rate=settings.learning_rate,
            lr_scheduler_type="constant_with_warmup",
            warmup_steps=max(1, steps // 20),
            max_grad_norm=settings.largest_gradient_norm,
            per_device_train_batch_size=settings.pairs_at_once,
            gradient_accumulation_steps=settings.pairs // (settings.pairs_at_once * count),
            max_length=None,
            beta=settings.beta,
            activation_checkpointing=settings.gradient_checkpointing,
            use_cpu=not torch.cuda.is_available(),
            bf16=compute == "bfloat16",
            logging_steps=settings.look_every,
            save_steps=settings.look_every,
            save_total_limit=1,
            report_to="none",
            disable_tqdm=True,
            dataloader_pin_memory=False,
        ),
    )
    hold_whole(adapted.model, taught)
    trainer.train(resume_from_checkpoint=get_last_checkpoint(run))
    if writes:
        whole = {
            **trained,
            "preferences": {**asdict(recipe), **made_of},
            "look": asdict(looks.best),
        }
        text = json.dumps(whole, indent=1) + "\n"
        (run / "adapter" / "training.json").write_text(text, encoding="utf-8")
    say(f"kept the weights of step {looks.best.step}")
    return run / "adapter"
