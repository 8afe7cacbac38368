"""The heads of the atlas's space, learnt on features alone: minutes on a processor.

    python -m training atlas heads --data DIR --captions CAPTIONS.jsonl --release DIR

Two questions are asked of each batch: which pictures share a picture's label (Khosla et al. 2020,
arXiv:2004.11362, equation 2), and which captions belong to it (Radford et al. 2021,
arXiv:2103.00020), where every caption of the same label does, in both directions.

What was tried on the validation pictures of the demonstration, precision at five over all training
pictures, mean over labels: the tower without heads 0.45; heads, cases by their pictures 0.46, and
no better with augmented pictures, 512 hidden units or another temperature, for the tower has
learnt these very pictures; heads, cases by picture and caption together 0.54. By the caption alone
0.56, but then the cases no longer look like the picture.
"""

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from appliance.release.atlas_heads import Head, Heads
from training.atlas.material import AtlasMaterial, Floats
from training.atlas.recipe import HeadsRecipe
from training.tower import warm_cosine

if TYPE_CHECKING:
    import torch

WARM_UP_STEPS = 100
SAY_EVERY = 250
LEAST_SCALE = 1e-6


def train_heads(recipe: HeadsRecipe, material: AtlasMaterial, say: Callable[[str], None]) -> Heads:
    """The same recipe on the same features gives the same heads."""
    import torch
    import torch.nn.functional as F

    train = material.places("train")
    labels = torch.from_numpy(material.labels[train])
    sides = [material.pictures[train], material.captions[train]]
    moments = [(side.mean(0), np.maximum(side.std(0), LEAST_SCALE)) for side in sides]
    pictures, captions = (
        torch.from_numpy((side - mean) / scale)
        for side, (mean, scale) in zip(sides, moments, strict=True)
    )
    counts = np.bincount(material.labels[train])
    weights = counts[material.labels[train]].astype(np.float64) ** -recipe.balance
    weights /= weights.sum()

    torch.manual_seed(recipe.seed)
    rng = np.random.default_rng(recipe.seed)
    image_head = _fresh(pictures.shape[1], recipe)
    text_head = _fresh(captions.shape[1], recipe)
    optimizer = torch.optim.AdamW(
        [*image_head.parameters(), *text_head.parameters()], weight_decay=recipe.weight_decay
    )
    others = 1 - torch.eye(recipe.batch)
    for step in range(recipe.steps):
        for group in optimizer.param_groups:
            share = warm_cosine(step, recipe.steps, WARM_UP_STEPS)
            group["lr"] = recipe.learning_rate * share
        batch = torch.from_numpy(rng.choice(len(train), recipe.batch, p=weights))
        seen = F.normalize(image_head(_noisy(pictures[batch], recipe.image_noise)), dim=1)
        said = F.normalize(text_head(_noisy(captions[batch], recipe.text_noise)), dim=1)
        same = (labels[batch][:, None] == labels[batch][None]).float()
        alike = contrastive_loss(seen, seen, same * others, others, recipe.temperature)
        everything = torch.ones_like(same)
        belongs = contrastive_loss(
            seen, said, same, everything, recipe.temperature
        ) + contrastive_loss(said, seen, same, everything, recipe.temperature)
        loss = alike + recipe.caption_weight / 2 * belongs
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if (step + 1) % SAY_EVERY == 0 or step + 1 == recipe.steps:
            say(f"step {step + 1}/{recipe.steps} loss {loss.item():.3f}")
    return Heads(_learnt(image_head, *moments[0]), _learnt(text_head, *moments[1]))


def contrastive_loss(
    queries: "torch.Tensor",
    keys: "torch.Tensor",
    positive: "torch.Tensor",
    counted: "torch.Tensor",
    temperature: float,
) -> "torch.Tensor":
    """Mean over queries of the mean over their positive keys of -log softmax of the cosine.

    `queries` and `keys` are unit rows; `positive` and `counted`, (queries, keys), say which keys
    belong to a query and which stand in its softmax. A query without a positive key counts as 0.
    """
    scores = (queries @ keys.T / temperature).masked_fill(counted == 0, -math.inf)
    logs = scores.log_softmax(1).masked_fill(counted == 0, 0)
    found = (logs * positive).sum(1) / positive.sum(1).clamp(min=1)
    return -found.mean()


def _noisy(rows: "torch.Tensor", deviation: float) -> "torch.Tensor":
    import torch

    return rows + deviation * torch.randn(rows.shape)


def _fresh(features: int, recipe: HeadsRecipe) -> "torch.nn.Sequential":
    from torch import nn

    return nn.Sequential(
        nn.Linear(features, recipe.hidden),
        nn.ReLU(),
        nn.Dropout(recipe.dropout),
        nn.Linear(recipe.hidden, recipe.dimensions),
    )


def _learnt(head: "torch.nn.Sequential", mean: Floats, scale: Floats) -> Head:
    """As the clinic holds it: (features, hidden), where torch holds (hidden, features)."""
    learnt = {name: tensor.detach().numpy() for name, tensor in head.state_dict().items()}
    parts = (learnt["0.weight"].T, learnt["0.bias"], learnt["3.weight"].T, learnt["3.bias"])
    arrays = [np.ascontiguousarray(part, np.float32) for part in parts]
    return Head(mean.astype(np.float32), scale.astype(np.float32), *arrays)
