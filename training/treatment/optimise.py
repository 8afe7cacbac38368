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

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from appliance.core.prompt import END_OF_TURN, PERSONA
from training.adapted import Adapted
from training.conversation import text_ids
from training.looks import Looks, begin
from training.treatment.asking import answered, label_and_verdict, label_opening, question
from training.treatment.drawing import Drawn
from training.treatment.held import Look, is_better, look, times_hacked
from training.treatment.recipe import TreatmentRecipe
from training.treatment.reward import pair_worth
from training.trl_run import TrlRun, rounds_a_step, trainer_settings


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
    Raises: RecipeError when the run was begun with another recipe or judge, or its questions cannot
    be shared among the processes.
    """
    from datasets import Dataset
    from trl import GRPOConfig, GRPOTrainer

    settings = recipe.optimisation
    rounds = rounds_a_step("optimisation.questions", settings.questions, settings.questions_at_once)
    followed = {"recipe": asdict(recipe), "judge": judge.made_of}
    looks = Looks(run / "looks.jsonl", Look, is_better, writes=begin(run, followed))
    earnings = Earnings()

    def take_look(step: int) -> Look:
        found = look(judge, held, picture, step, earnings.mean())
        say(describe(found, settings.steps))
        return found

    def why_stop(looked: Sequence[Look]) -> str | None:
        hacked = times_hacked(looked) >= settings.patience
        return "the pairs fell while the reward rose" if hacked else None

    def is_due(step: int) -> bool:
        return step % settings.look_every == 0

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
    compute = recipe.quantization.compute
    return TrlRun(
        judge, run, looks, look=take_look, is_due=is_due, why_stop=why_stop, say=say
    ).train(
        partial(GRPOTrainer, reward_funcs=[earnings]),
        GRPOConfig(
            **trainer_settings(run, recipe.seed, settings.steps, settings.look_every, compute),
            learning_rate=settings.learning_rate,
            beta=settings.beta,
            max_grad_norm=recipe.steps.largest_gradient_norm,
            activation_checkpointing=recipe.steps.gradient_checkpointing,
            per_device_train_batch_size=settings.questions_at_once * settings.answers,
            gradient_accumulation_steps=rounds,
            num_generations=settings.answers,
            shuffle_dataset=False,  # both pictures of a pair in one step
            max_completion_length=longest,
            temperature=settings.temperature,
            scale_rewards="none",
        ),
        Dataset.from_list([row for pair in train for row in pair_rows(pair, picture)]),
        {"base_sha256": judge.made_of["base_sha256"], **followed},
    )


def describe(found: Look, steps: int) -> str:
    return (
        f"step {found.step}/{steps} earned {found.earned:.3f}; held pairs: reward"
        f" {found.reward:.3f}, accuracy {found.accuracy:.3f}, two answers {found.parted:.3f},"
        f" label {found.label_accuracy:.3f}, treatment {found.named:.3f}"
    )
