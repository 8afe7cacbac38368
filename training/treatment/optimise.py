"""Policy optimisation of a supervised judge under S4's reward, by TRL.

    accelerate launch -m training treatment-optimise CONFIG ...

GRPO and not DPO: the table of rewards says how much worse a critical error missed is than a false
alarm, and DPO would only learn that both are wrong. An answer is some thirty tokens, so that
drawing it costs little even on a CPU. Rewards are not divided by their spread in the group (Liu et
al. 2025, arXiv:2503.20783), which would make all severities one again.

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
from training.conversation import text_ids
from training.recipe import RecipeError
from training.treatment.asking import answered, label_and_verdict, label_opening, question
from training.treatment.drawing import Drawn
from training.treatment.held import Look, is_better, is_hacked, look
from training.treatment.judging import Judge
from training.treatment.recipe import TreatmentRecipe
from training.treatment.reward import reward


def judge_processor(judge: Judge) -> Any:
    """Messages and pictures to the model's input, token for token what `treatment` taught."""
    from transformers import Gemma3ImageProcessorPil, Gemma3Processor

    config, tokenizer = judge.model.config, judge.tokenizer
    size = config.vision_config.image_size
    tokenizer.padding_side = "left"
    tokenizer.truncation_side = "left"
    return Gemma3Processor(
        Gemma3ImageProcessorPil(size={"height": size, "width": size}, do_pan_and_scan=False),
        tokenizer,
        chat_template=tokenizer.chat_template,
        image_seq_length=config.mm_tokens_per_image,
    )


def messages(finding: str, treatment: str) -> list[dict[str, Any]]:
    """The judge's prompt as messages; the picture goes before the question."""
    return [
        {"role": "system", "content": PERSONA},
        {"role": "user", "content": question(finding, treatment)},
    ]


def question_row(one: Drawn, picture: Any) -> dict[str, Any]:
    """A question as TRL takes it."""
    return {
        "prompt": messages(one.asked.finding, one.asked.treatment),
        "image": picture,
        "answer": one.answer,
        "severity": one.severity,
    }


@dataclass
class Earnings:
    """The reward function TRL calls, which remembers what was earned since it was last asked."""

    since: list[float] = field(default_factory=list)
    __name__ = "s4"

    def __call__(
        self, completions: Sequence[Any], answer: Sequence[Any], severity: Sequence[Any], **_: Any
    ) -> list[float]:
        said = [answered(completion[0]["content"].strip()) for completion in completions]
        earned = [
            reward(one[1] if one else None, right, harm)
            for one, right, harm in zip(said, answer, severity, strict=True)
        ]
        self.since += earned
        return earned

    def mean(self) -> float:
        mean = sum(self.since) / len(self.since) if self.since else 0.0
        self.since.clear()
        return mean


def optimise(
    judge: Judge,
    recipe: TreatmentRecipe,
    train: Sequence[Drawn],
    held: Sequence[tuple[Drawn, Drawn]],
    picture: Callable[[int], NDArray[np.uint8]],
    run: Path,
    say: Callable[[str], None],
) -> Path:
    """Optimise a supervised judge's adapter; returns the folder of the best.

    `picture`: an image as (side, side, 3), by its number in the questions. Kept are the weights of
    the look with the highest held reward, of those that told the pairs apart no less than at first.
    Resumes from the last checkpoint in `run`.
    Raises: RecipeError when the run was begun with another recipe.
    """
    import torch
    from datasets import Dataset
    from PIL import Image
    from transformers import TrainerCallback
    from transformers.trainer_utils import get_last_checkpoint
    from trl import GRPOConfig, GRPOTrainer

    settings = recipe.optimisation
    begin(run, recipe)
    earnings = Earnings()
    looks = Looks(run / "looks.jsonl")

    class Watch(TrainerCallback):
        def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            looks.forget_after(state.global_step)
            if not looks.seen:
                self.take(state.global_step)

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if state.global_step % settings.look_every == 0:
                self.take(state.global_step)
                if looks.hacked >= settings.patience:
                    say("stopped: the pairs fell while the reward rose")
                    control.should_training_stop = True

        def take(self, step: int) -> None:
            judge.model.eval()
            found = look(judge, held, picture, step, earnings.mean())
            judge.model.train()
            say(describe(found, settings.steps))
            if looks.add(found):
                judge.model.save_pretrained(run / "adapter", selected_adapters=["default"])

    longest = max(
        len(
            text_ids(
                judge.tokenizer,
                label_opening(one.asked.named) + label_and_verdict(label, answer) + END_OF_TURN,
            )
        )
        for one in train
        for label, (answer, _) in one.asked.right.items()
    )
    trainer = GRPOTrainer(
        model=judge.model,
        reward_funcs=[earnings],
        train_dataset=Dataset.from_list(
            [question_row(one, Image.fromarray(picture(one.image))) for one in train]
        ),
        processing_class=judge_processor(judge),
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
            gradient_accumulation_steps=settings.questions // settings.questions_at_once,
            num_generations=settings.answers,
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
    trainer.train(resume_from_checkpoint=get_last_checkpoint(run))
    made_of = {"recipe": asdict(recipe), "look": asdict(looks.best)}
    text = json.dumps(made_of, indent=1) + "\n"
    (run / "adapter" / "training.json").write_text(text, encoding="utf-8")
    say(f"kept the weights of step {looks.best.step}")
    return run / "adapter"


def begin(run: Path, recipe: TreatmentRecipe) -> None:
    """Raises: RecipeError when `run` was begun with another recipe."""
    file, text = run / "recipe.json", json.dumps(asdict(recipe), indent=1)
    if file.is_file() and file.read_text(encoding="utf-8") != text:
        raise RecipeError(f"{run} was begun with another recipe; delete it or use that one")
    run.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")


class Looks:
    """Every look so far, one a line of a file."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.seen: list[Look] = []
        if file.is_file():
            lines = file.read_text(encoding="utf-8").splitlines()
            self.seen = [Look(**json.loads(line)) for line in lines]

    @property
    def best(self) -> Look:
        best = self.seen[0]
        for each in self.seen:
            if is_better(each, best, self.seen[0]):
                best = each
        return best

    @property
    def hacked(self) -> int:
        pairs = zip(self.seen[1:], self.seen[2:], strict=False)
        return sum(is_hacked(before, after) for before, after in pairs)

    def add(self, found: Look) -> bool:
        """Whether it is the best."""
        self.seen.append(found)
        self._write()
        return self.best is found

    def forget_after(self, step: int) -> None:
        """Those that a run broken off had beyond its checkpoint."""
        self.seen = [each for each in self.seen if each.step <= step]
        self._write()

    def _write(self) -> None:
        lines = "".join(json.dumps(asdict(each)) + "\n" for each in self.seen)
        self.file.write_text(lines, encoding="utf-8")


def describe(found: Look, steps: int) -> str:
    return (
        f"step {found.step}/{steps} earned {found.earned:.3f}; held pairs: reward"
        f" {found.reward:.3f}, accuracy {found.accuracy:.3f}, two answers {found.parted:.3f},"
        f" label {found.label_accuracy:.3f}, treatment {found.named:.3f}"
    )
