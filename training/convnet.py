"""The tower's teacher: a convolutional network that knows ImageNet, fine-tuned on all labels.

    python -m training convnet --data DIR

It is too unlike SigLIP to ship, but a small transformer learns more from its features and its
doubts than from labels alone (Touvron et al. 2021, arXiv:2012.12877). It is the reference point
too: what the same images give with pretrained features.
"""

import math
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from training.checkpoint import Stateful, keep, resume
from training.labels import label_set
from training.pixels import augment
from training.recipe import Recipe
from training.sampling import draw
from training.tower import classify, log_share, parameter_groups, validation_line, warm_cosine
from training.training_set import input_hashes, load_training_set

if TYPE_CHECKING:
    from training.efficientnet import EfficientNetLite0

CONVNET = "convnet.safetensors"
WARM_UP_STEPS = 60
SAVE_EVERY_STEPS = 100


def train_convnet(recipe: Recipe, data: Path, run: Path, say: Callable[[str], None]) -> Path:
    """Train, resuming from the run's checkpoint if there is one; returns the network's file.

    Raises: DatasetError, RecipeError.
    """
    import torch
    import torch.nn.functional as F
    from safetensors.torch import save_file

    from training.efficientnet import imagenet_lite0

    settings, labels = recipe.convnet, label_set()
    pictures = load_training_set(data, run, settings.domain_share, settings.balance)
    train, target, held = pictures.train, pictures.target, pictures.validation
    share = log_share(pictures)

    torch.manual_seed(recipe.seed)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = imagenet_lite0(len(labels)).to(device)
    model.freeze(settings.frozen_blocks)
    optimizer = torch.optim.AdamW(parameter_groups(model, settings.weight_decay), fused=True)
    steps = math.ceil(settings.epochs * len(train) / settings.batch_size)
    checkpoint = run / "convnet.checkpoint"
    parts: dict[str, Stateful] = {"model": model, "optimizer": optimizer}
    followed = {"seed": recipe.seed, "convnet": asdict(settings), **input_hashes(data)}
    first = resume(checkpoint, followed, parts)
    say(f"convnet: {len(train)} images, {steps} steps, from {first}, {device}")

    started = time.monotonic()
    model.train()
    for step in range(first, steps):
        for group in optimizer.param_groups:
            group["lr"] = settings.learning_rate * warm_cosine(step, steps, WARM_UP_STEPS)
        picked, rng = draw(pictures.weights, settings.batch_size, recipe.seed + 2, step)
        batch = np.sort(train[picked])
        images = augment(pictures.pixels[batch], pictures.upright[batch], settings.image_size, rng)
        torch.manual_seed(hash((recipe.seed, step)))  # dropout, the same after a resume
        with torch.autocast(device, torch.bfloat16):
            scores = model(images.to(device)).float().cpu()
        loss = F.cross_entropy(
            scores + share,
            torch.from_numpy(target[batch]),
            label_smoothing=settings.label_smoothing,
        )
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimizer.step()
        done = step + 1
        if done % SAVE_EVERY_STEPS == 0 or done == steps:
            keep(checkpoint, followed, parts, done)
            rate = (done - first) * settings.batch_size / (time.monotonic() - started)
            line = f"step {done}/{steps} loss {loss.item():.3f} {rate:.0f} image/s"
            if done % (4 * SAVE_EVERY_STEPS) == 0 or done == steps:
                found = classify(model, pictures.pixels[held], settings.image_size)
                line += f" {validation_line(labels, target[held], found)}"
            say(line)
    file = run / CONVNET
    save_file({k: v.contiguous() for k, v in model.state_dict().items()}, file)
    return file


def load_convnet(file: Path, labels: int) -> "EfficientNetLite0":
    """The network that `train_convnet` left, ready to be asked."""
    from safetensors.torch import load_file

    from training.efficientnet import EfficientNetLite0

    model = EfficientNetLite0(labels)
    model.load_state_dict(load_file(file))
    model.eval().requires_grad_(False)
    return model
