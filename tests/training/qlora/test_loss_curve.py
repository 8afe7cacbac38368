"""Kept image tokens and packing change no step: the same curve as transformers' ordinary way.

The other way is written out below, as a plain training script would: one conversation a row,
padded, pixels through the tower at every step, all logits made, transformers' own masks.
"""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.training.qlora.test_qlora import RECIPE
from tests.training.qlora.tiny_gemma import SOFT, lesson, tiny_gemma
from training.conversation import Conversation
from training.qlora.material import kept_tokens
from training.qlora.projected import project_images
from training.qlora.recipe import QloraRecipe
from training.qlora.train import Material, add_adapter, train_adapter
from training.sampling import draw

IMAGES = 8
CURVE = replace(
    RECIPE,
    adapter=replace(RECIPE.adapter, dropout=0.0),
    steps=replace(RECIPE.steps, epochs=12, save_every=1, validated=IMAGES, learning_rate=1e-2),
)


def seeing_gemma() -> Any:
    """The tiny model with a projector that is not nought, as a fresh one is."""
    import torch

    model = tiny_gemma()
    torch.manual_seed(1)
    model.model.multi_modal_projector.mm_input_projection_weight.data.normal_(0, 0.5)
    return model


def pictures() -> Any:
    return np.random.default_rng(0).integers(0, 256, (IMAGES, 28, 28, 3), dtype=np.uint8)


def packed_curve(run: Path) -> list[float]:
    model, seen = seeing_gemma(), pictures()
    upright = np.zeros(IMAGES, bool)
    kept = project_images(model, lambda i: seen[list(i)], upright, 1, 0, run / "kept.npy", print)
    assert np.ptp(kept) > 0.1  # the images are not all alike
    material = Material(
        lessons=[lesson(seed) for seed in range(IMAGES)],
        image_tokens=kept_tokens(kept),
        views=1,
        train=np.arange(IMAGES),
        validation=np.arange(IMAGES),  # what is learnt is measured, so that the curve falls
        weights=np.full(IMAGES, 1 / IMAGES),
        images_sha256="",
    )
    lines: list[str] = []
    train_adapter(add_adapter(model, CURVE), CURVE, material, "", run, lines.append)
    return [float(line.split()[4]) for line in lines[1:]]


def padded_curve() -> list[float]:
    import torch

    model = add_adapter(seeing_gemma(), CURVE)
    pixels = torch.from_numpy(pictures()).permute(0, 3, 1, 2).float() / 127.5 - 1
    lessons, settings = [lesson(seed) for seed in range(IMAGES)], CURVE.steps
    trained = [weight for weight in model.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(trained, weight_decay=settings.weight_decay)
    steps = math.ceil(settings.epochs * IMAGES / settings.batch)
    curve = []
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = learning_rate(CURVE, step, steps)
        picked, _ = draw(np.full(IMAGES, 1 / IMAGES), settings.batch, CURVE.seed, step)
        padded_loss(model, [lessons[i] for i in picked], pixels[picked]).backward()
        torch.nn.utils.clip_grad_norm_(trained, settings.largest_gradient_norm)
        optimizer.step()
        optimizer.zero_grad()
        with torch.no_grad():
            curve.append(padded_loss(model, lessons, pixels).item())
    return curve


def padded_loss(model: Any, lessons: list[Conversation], pixels: Any) -> Any:
    """Weighted sum of the learnt tokens' cross-entropy of a caption, mean over captions."""
    import torch

    longest = max(len(one.ids) for one in lessons)
    ids, mask = torch.zeros(2, len(lessons), longest, dtype=torch.long)
    weights = torch.zeros(ids.shape)
    for place, one in enumerate(lessons):
        ids[place, : len(one.ids)] = torch.tensor(one.ids)
        mask[place, : len(one.ids)] = 1
        weights[place, : len(one.ids)] = torch.tensor(one.weights)
    logits = model(
        input_ids=ids, attention_mask=mask, token_type_ids=(ids == SOFT).long(), pixel_values=pixels
    ).logits
    loss = torch.nn.functional.cross_entropy(
        logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten(), reduction="none"
    )
    return (loss * weights[:, 1:].flatten()).sum() / len(lessons)


def learning_rate(recipe: QloraRecipe, step: int, steps: int) -> float:
    """Linear warm-up, then half a cosine to nought."""
    from training.tower import warm_cosine

    warm_up = max(1, round(recipe.steps.warm_up_share * steps))
    return recipe.steps.learning_rate * warm_cosine(step, steps, warm_up)


def test_the_loss_curve_is_that_of_padded_rows_through_the_tower(tmp_path: Path) -> None:
    packed, padded = packed_curve(tmp_path), padded_curve()
    assert len(packed) == 24
    assert packed[-1] < 0.9 * packed[0]
    assert packed == pytest.approx(padded, rel=0.01)
