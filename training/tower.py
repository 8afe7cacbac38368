"""The vision tower, trained from scratch as a classifier of all labels, taught by the convnet.

    python -m training tower --data DIR --captions CAPTIONS.jsonl

It also learns to tell the level of every measured finding, which a classifier has no need to see
and a caption states.

Reads downward: data, model, steps, save. The captioner then takes the tower over.
"""

import math
import time
from bisect import bisect
from collections.abc import Callable
from dataclasses import asdict
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from appliance.core.labels import LabelSet
from training.checkpoint import Stateful, keep, resume
from training.labels import label_set
from training.measured.captions import read_levels
from training.measured.finding import LEVELS
from training.metrics import domain_scores, merge_retinopathy
from training.pixels import augment, plain
from training.recipe import Geometry, Recipe
from training.sampling import draw
from training.training_set import TrainingSet, input_hashes, load_training_set

if TYPE_CHECKING:
    import torch
    from torch import nn

TOWER = "tower.safetensors"
WARM_UP_STEPS = 150
SAVE_EVERY_STEPS = 250


def train_tower(
    recipe: Recipe, data: Path, captions: Path, run: Path, say: Callable[[str], None]
) -> Path:
    """Train, resuming from the run's checkpoint if there is one; returns the tower's file.

    Raises: DatasetError, RecipeError, OSError.
    """
    import torch
    import torch.nn.functional as F
    from safetensors.torch import save_file
    from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

    from training.convnet import CONVNET, load_convnet
    from training.distillation import Hints, ask

    settings, geometry = recipe.tower, recipe.geometry
    labels = label_set()
    pictures = load_training_set(data, run, settings.domain_share, settings.balance)
    train, target, held = pictures.train, pictures.target, pictures.validation
    levels = read_levels(captions, pictures.examples)

    torch.manual_seed(recipe.seed)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = build_classifier(geometry, len(labels)).to(device)
    teacher = load_convnet(run / CONVNET, len(labels)).to(device)
    hints = Hints(geometry).to(device)
    gauge = torch.nn.Linear(geometry.vision_width, levels.shape[1] * len(LEVELS)).to(device)
    average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(settings.average_decay))
    optimizer = torch.optim.AdamW(
        parameter_groups(model, settings.weight_decay)
        + parameter_groups(hints, settings.weight_decay)
        + parameter_groups(gauge, settings.weight_decay),
        betas=(0.9, 0.98),
        fused=True,
    )
    share = log_share(pictures).to(device)
    ends = [
        math.ceil(epochs * len(train) / settings.batch_size)
        for epochs in accumulate(settings.epochs)
    ]
    steps = ends[-1]
    checkpoint = run / "tower.checkpoint"
    parts: dict[str, Stateful] = {
        "model": model,
        "average": average,
        "hints": hints,
        "gauge": gauge,
        "optimizer": optimizer,
    }
    followed = {
        "seed": recipe.seed,
        "geometry": asdict(geometry),
        "tower": asdict(settings),
        **input_hashes(data, captions=captions, convnet=run / CONVNET),
    }
    first = resume(checkpoint, followed, parts)
    say(
        f"tower: {len(train)} images, {pictures.left_out} left out, "
        f"{steps} steps, from {first}, {device}"
    )

    started = time.monotonic()
    for step in range(first, steps):
        turn = bisect(ends, step)
        begun = ends[turn - 1] if turn else 0
        rate = warm_cosine(step - begun, ends[turn] - begun, WARM_UP_STEPS)
        for group in optimizer.param_groups:
            group["lr"] = settings.learning_rate[turn] * rate
        picked, rng = draw(pictures.weights, settings.batch_size, recipe.seed, step)
        batch = np.sort(train[picked])
        images = augment(pictures.pixels[batch], pictures.upright[batch], geometry.image_size, rng)
        wanted = F.one_hot(torch.from_numpy(target[batch]), len(labels)).float()
        blended = rng.random() < settings.mixup_share[turn]
        if blended:
            images, wanted = mixup(images, wanted, rng)
        images = images.to(device)
        with torch.autocast(device, torch.bfloat16):
            taught, *maps = ask(teacher, images)
            middle, last = model.features(images)
            scores = model.head(last.mean(1)).float()
            told = gauge(last.mean(1)).float().view(-1, len(LEVELS))
            hint_loss = hints(middle, last, *maps)
        doubts = (taught.float() + share).softmax(1)
        wanted = wanted.to(device).lerp(doubts, settings.teacher_share[turn])
        loss = F.cross_entropy(scores + share, wanted) + settings.hint_weight * hint_loss
        if not blended:
            true = torch.from_numpy(levels[batch]).flatten().to(device)
            loss = loss + settings.finding_weight * F.cross_entropy(told, true, ignore_index=-1)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        average.update_parameters(model)
        done = step + 1
        if done % SAVE_EVERY_STEPS == 0 or done == steps:
            keep(checkpoint, followed, parts, done)
            speed = (done - first) * settings.batch_size / (time.monotonic() - started)
            line = f"step {done}/{steps} loss {loss.item():.3f} {speed:.0f} image/s"
            if done % (4 * SAVE_EVERY_STEPS) == 0 or done == steps:
                found = classify(average.module, pictures.pixels[held], geometry.image_size)
                line += f" {validation_line(labels, target[held], found)}"
            say(line)
    file = run / TOWER
    save_file({k: v.contiguous() for k, v in average.module.state_dict().items()}, file)
    return file


def build_classifier(geometry: Geometry, labels: int) -> Any:
    """A SigLIP tower with a linear head on the mean of its patches.

    Input (batch, 3, image_size, image_size) in [-1, 1]; output (batch, labels) scores.
    """
    from torch import nn
    from transformers import SiglipVisionModel

    class Classifier(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.tower = SiglipVisionModel(vision_config(geometry))
            # On a CPU plain attention trains twice as fast here as the fused kind, whose backward
            # pass is slow for few tokens.
            self.tower.set_attn_implementation("eager")
            self.head = nn.Linear(geometry.vision_width, labels)

        def features(self, images: "torch.Tensor") -> tuple["torch.Tensor", "torch.Tensor"]:
            """Tokens two thirds of the way and at the end, each (batch, patches, width)."""
            seen = self.tower(pixel_values=images, output_hidden_states=True)
            return seen.hidden_states[2 * geometry.vision_depth // 3], seen.last_hidden_state

        def forward(self, images: "torch.Tensor") -> "torch.Tensor":
            scores: torch.Tensor = self.head(self.features(images)[1].mean(1))
            return scores

    model = Classifier()
    initialise_mimetic(model.tower)
    return model


def vision_config(geometry: Geometry) -> Any:
    from transformers import SiglipVisionConfig

    return SiglipVisionConfig(
        hidden_size=geometry.vision_width,
        intermediate_size=4 * geometry.vision_width,
        num_hidden_layers=geometry.vision_depth,
        num_attention_heads=geometry.vision_width // 32,
        image_size=geometry.image_size,
        patch_size=geometry.patch_size,
        hidden_act="gelu_pytorch_tanh",
        vision_use_head=False,
    )


def initialise_mimetic(tower: Any) -> None:
    """Start attention where trained towers end up: query-key near the identity, value-output near
    its negative, positions as sines (Trockman and Kolter 2023, arXiv:2305.09828, section 3)."""
    import torch

    config = tower.config
    width, head_width = config.hidden_size, config.hidden_size // config.num_attention_heads
    side = config.image_size // config.patch_size
    with torch.no_grad():
        frequency = 1e-4 ** (torch.arange(width // 4) / (width // 4))
        row, column = torch.meshgrid(
            torch.arange(side).float(), torch.arange(side).float(), indexing="ij"
        )
        angles = [axis.reshape(-1, 1) * frequency for axis in (row, column)]
        waves = [wave for angle in angles for wave in (angle.sin(), angle.cos())]
        tower.embeddings.position_embedding.weight.copy_(torch.cat(waves, 1) * 0.5)
        noise = width**-0.5
        for layer in tower.encoder.layers:
            attention = layer.self_attn
            for start in range(0, width, head_width):
                rows = slice(start, start + head_width)
                near = 0.7 * noise * torch.randn(width, width) + 0.7 * torch.eye(width)
                left, size, right = torch.linalg.svd(near)
                root = size[:head_width].sqrt()
                attention.q_proj.weight[rows] = (left[:, :head_width] * root).T
                attention.k_proj.weight[rows] = right[:head_width] * root[:, None]
            near = 0.4 * noise * torch.randn(width, width) - 0.4 * torch.eye(width)
            left, size, right = torch.linalg.svd(near)
            attention.v_proj.weight.copy_(right * size.sqrt()[:, None])
            attention.out_proj.weight.copy_(left * size.sqrt())


def parameter_groups(model: "nn.Module", weight_decay: float) -> list[dict[str, Any]]:
    """AdamW groups: matrices decay; biases, norms and positions do not."""
    matrices: list[torch.Tensor] = []
    others: list[torch.Tensor] = []
    for name, parameter in model.named_parameters():
        decays = parameter.ndim > 1 and "position" not in name
        (matrices if decays else others).append(parameter)
    return [
        {"params": matrices, "weight_decay": weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]


def warm_cosine(step: int, steps: int, warm_up: int) -> float:
    """Share of the learning rate: linear warm-up, then a cosine to one hundredth."""
    cosine = 0.5 * (1 + math.cos(math.pi * step / steps))
    return min(1.0, (step + 1) / warm_up) * max(0.01, cosine)


def mixup(
    images: "torch.Tensor", wanted: "torch.Tensor", rng: np.random.Generator
) -> tuple["torch.Tensor", "torch.Tensor"]:
    """Blend a batch with itself in another order (Zhang et al. 2018, arXiv:1710.09412)."""
    share = float(rng.beta(0.8, 0.8))
    order = rng.permutation(len(images))
    return (
        share * images + (1 - share) * images[order],
        share * wanted + (1 - share) * wanted[order],
    )


def log_share(pictures: TrainingSet) -> "torch.Tensor":
    """Log of how often each label is drawn, (labels,).

    Added to the scores before the loss, it makes them learn the balanced posterior whatever that
    share is: logit adjustment (Menon et al. 2021, arXiv:2007.07314).
    """
    import torch

    labels, drawn = label_set(), pictures.target[pictures.train]
    share = np.bincount(drawn, weights=pictures.weights, minlength=len(labels))
    if absent := [name for name, part in zip(labels.names, share, strict=True) if not part]:
        raise ValueError(f"no training picture of {', '.join(absent)}")
    return torch.from_numpy(np.log(share)).float()


def validation_line(labels: LabelSet, truth: NDArray[np.int64], scores: NDArray[np.float32]) -> str:
    """Balanced accuracy a domain, and of the fundus with its three worst grades as one."""
    found = scores.argmax(1)
    alone = np.arange(len(truth)).astype(str)  # groups matter to the intervals only
    figures: dict[str, float] = {
        domain: scored.balanced_accuracy
        for domain, scored in domain_scores(labels, truth, found, alone).items()
    }
    truth, found = (merge_retinopathy(labels, positions) for positions in (truth, found))
    merged = domain_scores(labels, truth, found, alone)
    figures["fundus, merged"] = merged["fundus"].balanced_accuracy
    return "val " + ", ".join(f"{name} {figure:.3f}" for name, figure in figures.items())


def classify(model: "nn.Module", pixels: NDArray[np.uint8], size: int) -> NDArray[np.float32]:
    """Scores of every image, (images, labels), in batches."""
    import torch

    device = next(model.parameters()).device
    model.eval()
    scores = []
    with torch.no_grad(), torch.autocast(device.type, torch.bfloat16):
        for start in range(0, len(pixels), 128):
            images = plain(pixels[start : start + 128], size).to(device)
            scores.append(model(images).float().cpu().numpy())
    model.train()
    return np.concatenate(scores)
