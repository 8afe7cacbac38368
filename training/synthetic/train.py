"""A drawing model learns to take noise away from pictures, told what each shows.

    python -m training synthetic train --data DIR --captions CAPTIONS.jsonl --run DIR

Reads downward: learner, steps, looks at held pictures, save. A step is a pure function of seed and
number, so a run that was killed goes on to the same weights.
"""

import math
import shutil
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from training.checkpoint import Stateful, keep, resume
from training.sampling import draw
from training.synthetic.curve import Losses
from training.synthetic.drawing import MODEL
from training.synthetic.material import Material
from training.synthetic.recipe import Steps, SyntheticRecipe
from training.tower import warm_cosine

if TYPE_CHECKING:
    import torch

MOST_WEIGHT = 5.0
"""Of signal over noise in a step's weight (Hang et al. 2023, arXiv:2303.09556)."""
LOOK_SEED = 1 << 20
"""Of the noise that held pictures are looked at with: no step's."""


class Learner(Protocol):
    """A denoiser that learns."""

    parts: dict[str, Stateful]
    """What a checkpoint holds, beside the optimizer."""

    @property
    def trained(self) -> "Iterable[torch.nn.Parameter]": ...

    def loss(
        self, rows: NDArray[np.int64], rng: np.random.Generator, *, held: bool = False
    ) -> "torch.Tensor":
        """Mean over these rows of the material; `held`: as they are, every one with all words, by
        the weights that will draw."""

    def stepped(self) -> None:
        """After every step of the optimizer."""

    def save(self, folder: Path) -> None:
        """Write what draws into a new folder. Raises: OSError."""


def train_drawing(
    learner: Learner,
    recipe: SyntheticRecipe,
    material: Material,
    run: Path,
    say: Callable[[str], None],
) -> Path:
    """Train, resuming from the run's checkpoint if there is one; returns the model's folder.

    Raises: RecipeError when the run was begun with another recipe or other inputs; OSError.
    """
    import torch

    settings = recipe.steps
    trained = list(learner.trained)
    optimizer = torch.optim.AdamW(
        trained, settings.learning_rate, betas=(0.9, 0.99), weight_decay=settings.weight_decay
    )
    steps = math.ceil(settings.epochs * len(material.train) / settings.batch)
    checkpoint, losses = run / "synthetic.checkpoint", Losses()
    parts: dict[str, Stateful] = {**learner.parts, "optimizer": optimizer, "losses": losses}
    followed = {**asdict(recipe), **material.inputs}
    first = resume(checkpoint, followed, parts)
    count = sum(parameter.numel() for parameter in trained)
    say(f"synthetic: {len(material.train)} images, {count:,} weights, {steps} steps from {first}")

    held = chosen_for_looks(material, settings)
    started = time.monotonic()
    for step in range(first, steps):
        for group in optimizer.param_groups:
            group["lr"] = settings.learning_rate * warm_cosine(step, steps, settings.warm_up)
        picked, rng = draw(material.weights, settings.batch, recipe.seed, step)
        loss = learner.loss(material.train[picked], rng)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        learner.stepped()
        losses.note(loss.item())
        done = step + 1
        if done % settings.save_every == 0 or done == steps:
            losses.look(done, held_loss(learner, held))
            keep(checkpoint, followed, parts, done)
            losses.draw(run / "loss.svg")
            speed = (done - first) * settings.batch / (time.monotonic() - started)
            say(f"step {done}/{steps} {losses.line()} {speed:.1f} image/s")
    folder, aside = run / MODEL, run / f"{MODEL}.partial"
    for old in (aside, folder):
        shutil.rmtree(old, ignore_errors=True)
    learner.save(aside)
    aside.rename(folder)
    return folder


def held_loss(learner: Learner, held: Sequence[NDArray[np.int64]]) -> float:
    """Mean over batches of held pictures, with the same noise at every look."""
    import torch

    with torch.no_grad():
        found = [
            learner.loss(rows, np.random.default_rng((LOOK_SEED, turn)), held=True)
            for turn, rows in enumerate(held)
        ]
    return float(torch.stack(found).mean())


def chosen_for_looks(material: Material, settings: Steps) -> list[NDArray[np.int64]]:
    """Batches of rows of the validation split, the same in every run."""
    rows = material.split("val")
    chosen = np.random.default_rng(0).permutation(rows)[: settings.validated]
    return np.array_split(chosen, math.ceil(len(chosen) / settings.batch))


def noised(
    scheduler: Any, clean: "torch.Tensor", rng: np.random.Generator
) -> tuple["torch.Tensor", "torch.Tensor", "torch.Tensor"]:
    """Pictures with noise of as many strengths, (batch, channels, side, side); the strengths,
    (batch,), as times of the scheduler; and the noise. Evenly spread over all times, so that a
    small batch sees each part."""
    import torch

    total = scheduler.config.num_train_timesteps
    spread = (np.arange(len(clean)) + rng.random(len(clean))) / len(clean)
    times = torch.from_numpy((rng.permutation(spread) * total).astype(np.int64)).to(clean.device)
    noise = torch.from_numpy(rng.standard_normal(clean.shape, np.float32)).to(clean)
    return scheduler.add_noise(clean, noise, times), times, noise


def denoising_loss(
    scheduler: Any,
    found: "torch.Tensor",
    clean: "torch.Tensor",
    noise: "torch.Tensor",
    times: "torch.Tensor",
) -> "torch.Tensor":
    """Mean square error of what the scheduler says is to be found.

    Where that is the picture itself, a picture weighs its signal over noise plus one (Salimans and
    Ho 2022, arXiv:2202.00512, section 4), the first at most MOST_WEIGHT.
    """
    kind = scheduler.config.prediction_type
    if kind == "sample":
        share = scheduler.alphas_cumprod.to(clean.device)[times]
        weight = (share / (1 - share)).clamp(max=MOST_WEIGHT) + 1
        mean: torch.Tensor = (weight * (found - clean).square().flatten(1).mean(1)).mean()
        return mean
    wanted = noise if kind == "epsilon" else scheduler.get_velocity(clean, noise, times)
    error: torch.Tensor = (found - wanted).square().mean()
    return error
