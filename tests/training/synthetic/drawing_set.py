"""Small recipes, and what a drawing model that a test can afford learns from."""

from pathlib import Path

import numpy as np

from appliance.release.atlas_heads import unit
from tests.training.tiny import SHARE
from training.atlas.material import Floats
from training.synthetic.material import Material, gather_pictures
from training.synthetic.recipe import Drawing, Lora, PixelRecipe, StableRecipe, Steps, Unet

DIMENSIONS = 8
STEPS = Steps(
    epochs=0.5,
    batch=4,
    learning_rate=3e-3,
    warm_up=2,
    weight_decay=0.0,
    balance=0.5,
    domain_share=SHARE,
    blank=0.1,
    save_every=3,
    validated=4,
)
"""Five steps on the data of `every_label`."""
PIXELS = PixelRecipe(
    name="tiny",
    seed=0,
    average_decay=0.9,
    unet=Unet(side=16, patch=4, widths=[16, 32], heads=2, layers=1),
    steps=STEPS,
    drawing=Drawing(steps=3, guidance=2.0),
)
STABLE = StableRecipe(
    name="tiny stable",
    seed=0,
    base="",
    lora=Lora(side=16, rank=2, alpha=2),
    steps=STEPS,
    drawing=Drawing(steps=2, guidance=2.0),
)


def pictures(data: Path, captions: Path, run: Path) -> Material:
    return gather_pictures(data, captions, run, STEPS)


def made_up_vectors(material: Material) -> Floats:
    """One of each label, as captions in the atlas's space."""
    rows = np.random.default_rng(0).normal(size=(material.labels.max() + 1, DIMENSIONS))
    return unit(rows.astype(np.float32))[material.labels]
