"""Policy optimisation of a supervised judge under S4's reward, by TRL.

    accelerate launch -m training treatment-optimise CONFIG ...

GRPO and not DPO: the table of rewards says how much worse a critical error missed is than a false
alarm, and DPO would only learn that both are wrong. An answer is some thirty tokens, so that
drawing it costs little even on a CPU. Rewards are not divided by their spread in the group (Liu et
al. 2025, arXiv:2503.20783), which would make all severities one again. Only pairs are asked, both
pictures in one step and with rewards that weigh the same, so that there is nothing to earn for who
says one word of every picture.

Reads downward: judge, questions, looks at the held pairs, steps.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from appliance.core.prompt import END_OF_TURN, PERSONA
from training.adapted import Adapted, chat_processor, hold_whole, learnt_weights
from training.conversation import text_ids
from training.looks import Looks, begin
from training.processes import processes
from training.recipe import RecipeError
from training.treatment.asking import answered, label_and_verdict, label_opening, question
from training.treatment.drawing import Drawn
from training.treatment.held import Look, is_better, look, times_hacked
from training.treatment.recipe import TreatmentRecipe
from training.treatment.reward import pair_worth


def messages(finding: str, treatment: str) -> list[dict[str, Any]]:
    """The judge's prompt as messages; the picture goes before the question."""
    return [
        {"role": "system", "content": PERSONA},
        {"role": "user", "content": question(finding, treatment)},
    ]


def pair_rows(
    pair: tuple[Drawn, Drawn], picture: Callable[[int], NDArray[np.uint8]]
) -> list[dict[str, Any]]:
    """The two questions of a pair as TRL takes them."""
    from PIL import Image

    worth = pair_worth({one.answer: one.severity for one in pair})
    return [
        {
            "prompt": messages(one.asked.finding, one.asked.treatment),
            "image": Image.fromarray(picture(one.image)),
            "answer": one.answer,
            "worth": worth,
        }
        for one in pair
    ]


@dataclass
class Earnings:
    """The reward function TRL calls, which remembers what was earned since it was last asked."""

    since: list[float] = field(default_factory=list)
    __name__ = "s4"

    def __call__(
        self, completions: Sequence[Any], answer: Sequence[Any], worth: Sequence[float], **_: Any
    ) -> list[float]:
        said = [answered(completion[0]["content"].strip()) for completion in completions]
        earned = [
            each if one and one[1] == right else -each
            for one, right, each in zip(said, answer, worth, strict=True)
        ]
        self.since += earned
        return earned

    def mean(self) -> float:
        """Over all processes: they stop together."""
        from accelerate.utils import gather_object

        earned = gather_object(self.since)
        self.since.clear()
        return sum(earned) / len(earned) if earned else 0.0


def optimise(
    judge: Adapted,
    recipe: TreatmentRecipe,
    train: Sequence[tuple[Drawn, Drawn]],
    held: Sequence[tuple[Drawn, Drawn]],
    picture: Callable[[int], NDArray[np.uint8]],
    run: Path,
    say: Callable[[str], None],
) -> Path:
    """Optimise a supervised judge's adapter; returns the folder of the best.

    `train` and `held`: pairs. `picture`: an image as (side, side, 3), by its number in the
    questions. Kept are the weights of the look with the most held questions right, of those that
    told the pairs apart no less than at first.
    Resumes from the last checkpoint in `run`.
    Raises: RecipeError when the run was begun with another recipe, or its questions cannot be
    shared among the processes.
    """
    import torch
    from datasets import Dataset
    from transformers import TrainerCallback
    from transformers.trainer_utils import get_last_checkpoint
    from trl import GRPOConfig, GRPOTrainer

    settings = recipe.optimisation
    count = processes().num_processes
    if settings.questions % (settings.questions_at_once * count):
        raise RecipeError(
            f"optimisation.questions is {settings.questions}: make it a multiple of "
            f"questions_at_once ({settings.questions_at_once}) times {count} processes"
        )
    writes = begin(run, asdict(recipe))
    earnings = Earnings()
    looks = Looks(run / "looks.jsonl", Look, is_better, writes=writes)

    class Watch(TrainerCallback):
        def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            looks.forget_after(state.global_step)
            if not looks.seen:
                self.take(state.global_step)

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if state.global_step % settings.look_every == 0:
                self.take(state.global_step)
                if times_hacked(looks.seen) >= settings.patience:
                    say("stopped: the pairs fell while the reward rose")
                    control.should_training_stop = True

        def take(self, step: int) -> None:
            judge.model.eval()
            found = look(judge, held, picture, step, earnings.mean())
            judge.model.train()
            say(describe(found, settings.steps))
            if looks.add(found) and writes:
                judge.model.save_pretrained(run / "adapter", selected_adapters=["default"])

    longest = max(
        len(
            text_ids(
                judge.tokenizer,
                label_opening(one.asked.named) + label_and_verdict(label, answer) + END_OF_TURN,
            )
        )
        for one, _ in train  # both of a pair have the same words
        for label, (answer, _) in one.asked.right.items()
    )
    taught = learnt_weights(judge.model)
    trainer = GRPOTrainer(
        model=judge.model,
        reward_funcs=[earnings],
        train_dataset=Dataset.from_list(
            [row for pair in train for row in pair_rows(pair, picture)]
        ),
        processing_class=chat_processor(judge),
        callbacks=[Watch()],
        args=GRPOConfig(
            output_dir=str(run),
            seed=recipe.seed,
            max_steps=settings.steps,
            learning_rate=settings.learning_rate,
            lr_scheduler_type="constant_with_warmup",
            warmup_steps=max(1, settings.steps // 20),
            max_grad_norm=recipe.steps.largest_gradient_norm,
            per_device_train_batch_size=settings.questions_at_once * settings.answers,
            gradient_accumulation_steps=settings.questions // (settings.questions_at_once * count),
            num_generations=settings.answers,
            shuffle_dataset=False,  # both pictures of a pair in one step
            max_completion_length=longest,
            temperature=settings.temperature,
            beta=settings.beta,
            scale_rewards="none",
            activation_checkpointing=recipe.steps.gradient_checkpointing,
            use_cpu=not torch.cuda.is_available(),
            bf16=recipe.quantization.compute == "bfloat16",
            logging_steps=settings.look_every,
            save_steps=settings.look_every,
            save_total_limit=1,
            report_to="none",
            disable_tqdm=True,
            dataloader_pin_memory=False,
        ),
    )
    hold_whole(judge.model, taught)
    trainer.train(resume_from_checkpoint=get_last_checkpoint(run))
    made_of = {"recipe": asdict(recipe), "look": asdict(looks.best)}
    if writes:
        text = json.dumps(made_of, indent=1) + "\n"
        (run / "adapter" / "training.json").write_text(text, encoding="utf-8")
    say(f"kept the weights of step {looks.best.step}")
    return run / "adapter"


def describe(found: Look, steps: int) -> str:
    return (
        f"step {found.step}/{steps} earned {found.earned:.3f}; held pairs: reward"
        f" {found.reward:.3f}, accuracy {found.accuracy:.3f}, two answers {found.parted:.3f},"
        f" label {found.label_accuracy:.3f}, treatment {found.named:.3f}"
    )
