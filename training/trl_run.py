"""A run of one of TRL's trainers on an adapter: how its steps are shared among processes, the looks
taken on the way, and the adapter that is kept.

Knows neither what is learnt nor what a look sees.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Generic

from training.adapted import Adapted, chat_processor, hold_whole, learnt_weights, write_made_of
from training.looks import L, Looks
from training.processes import processes
from training.recipe import RecipeError


def rounds_a_step(setting: str, a_step: int, at_once: int) -> int:
    """How often every process takes `at_once` to make a step of `a_step` of them.

    `setting`: what the recipe calls `a_step`; its other is called the same, `_at_once` behind it.
    Raises: RecipeError when a step cannot be shared among the processes.
    """
    count: int = processes().num_processes
    rounds, left = divmod(a_step, at_once * count)
    if left:
        raise RecipeError(
            f"{setting} is {a_step}: make it a multiple of {setting.rpartition('.')[2]}_at_once "
            f"({at_once}) times {count} processes"
        )
    return rounds


def trainer_settings(
    run: Path, seed: int, steps: int, look_every: int, compute: str
) -> dict[str, Any]:
    """What the settings of every run's trainer have in common; a checkpoint is kept at every look.

    `compute`: as a recipe's quantization has it.
    """
    import torch

    return {
        "output_dir": str(run),
        "seed": seed,
        "max_steps": steps,
        "lr_scheduler_type": "constant_with_warmup",
        "warmup_steps": max(1, steps // 20),
        "use_cpu": not torch.cuda.is_available(),
        "bf16": compute == "bfloat16",
        "logging_steps": look_every,
        "save_steps": look_every,
        "save_total_limit": 1,
        "report_to": "none",
        "disable_tqdm": True,
        "dataloader_pin_memory": False,
    }


@dataclass(frozen=True)
class TrlRun(Generic[L]):
    """Teaches an adapter further; resumes from the last checkpoint in its folder."""

    adapted: Adapted
    folder: Path
    looks: Looks[L]
    look: Callable[[int], L]
    """After so many steps, with the model as it answers."""
    is_due: Callable[[int], bool]
    """Whether a look is, after so many steps; one always comes before the first."""
    why_stop: Callable[[Sequence[L]], str | None]
    """Of all looks so far, why they end the run, if they do."""
    say: Callable[[str], None]

    def train(
        self,
        trainer: Callable[..., Any],
        settings: Any,
        data: Any,
        made_of: Mapping[str, Any],
    ) -> Path:
        """Returns the folder of the weights that were the best when looked at; its training.json
        says what they are `made_of`. `trainer`: a TRL trainer's class; `data`: what it learns from.
        """
        from transformers.trainer_utils import get_last_checkpoint

        model = self.adapted.model
        taught = learnt_weights(model)
        opened = trainer(
            model=model,
            train_dataset=data,
            processing_class=chat_processor(self.adapted),
            callbacks=[self._watch()],
            args=settings,
        )
        hold_whole(model, taught)
        opened.train(resume_from_checkpoint=get_last_checkpoint(self.folder))
        best = self.looks.best
        if self.looks.writes:
            write_made_of(self.adapter, {**made_of, "look": asdict(best)})
        self.say(f"kept the weights of step {best.step}")
        return self.adapter

    @property
    def adapter(self) -> Path:
        return self.folder / "adapter"

    def _watch(self) -> Any:
        """What TRL calls as the run goes on."""
        from transformers import TrainerCallback

        run = self

        class Watch(TrainerCallback):
            def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
                run.looks.forget_after(state.global_step)
                if not run.looks.seen:
                    run._take_look(state.global_step)

            def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
                if run.is_due(state.global_step):
                    run._take_look(state.global_step)
                    if reason := run.why_stop(run.looks.seen):
                        run.say(f"stopped: {reason}")
                        control.should_training_stop = True

        return Watch()

    def _take_look(self, step: int) -> None:
        model = self.adapted.model
        model.eval()
        found = self.look(step)
        model.train()
        if self.looks.add(found) and self.looks.writes:
            model.save_pretrained(self.adapter, selected_adapters=["default"])
