"""Small data sets in the shape of the real ones, and a recipe that a test can afford."""

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from appliance.core.labels import Domain
from training.labels import LabelRow, label_table
from training.recipe import CaptionerRecipe, ConvnetRecipe, Geometry, Recipe, TowerRecipe

DATASET_OF: dict[Domain, str] = {"skin": "ham10000", "fundus": "odir5k", "chest": "kermany_cxr"}
SHARE: dict[Domain, float] = {"skin": 0.4, "fundus": 0.4, "chest": 0.2}
IN_TRAIN = 2
"""Pictures of every label in the training split."""
HELD_BACK = ("melanoma", "vascular lesion", "cataract", "glaucoma", "normal chest")
"""Labels with a picture in the validation and in the test split."""

Row = dict[str, Any]
Rows = dict[str, list[Row]]

RECIPE = Recipe(
    name="tiny",
    seed=0,
    geometry=Geometry(
        image_size=64,
        patch_size=16,
        image_tokens=4,
        vision_width=32,
        vision_depth=1,
        text_width=128,
        text_depth=1,
        vocabulary=640,
    ),
    convnet=ConvnetRecipe(
        image_size=32,
        epochs=1,
        batch_size=2,
        learning_rate=1e-3,
        weight_decay=0.02,
        balance=0.6,
        domain_share=SHARE,
        label_smoothing=0.05,
        frozen_blocks=5,
    ),
    tower=TowerRecipe(
        epochs=[0.5, 0.5],
        learning_rate=[1e-3, 5e-4],
        mixup_share=[0.5, 1.0],
        teacher_share=[0.7, 0.9],
        batch_size=2,
        weight_decay=0.05,
        balance=0.6,
        domain_share=SHARE,
        hint_weight=1.0,
        finding_weight=0.5,
        average_decay=0.9,
    ),
    captioner=CaptionerRecipe(
        epochs=1,
        batch_size=2,
        learning_rate=1e-3,
        weight_decay=0.03,
        balance=0.8,
        domain_share=SHARE,
    ),
)


def with_steps(recipe: Recipe, *, tower: int, captioner: int) -> Recipe:
    """`recipe` with so many steps, on the data of `every_label`."""
    images = IN_TRAIN * len(label_table())
    return replace(
        recipe,
        convnet=replace(recipe.convnet, epochs=(6 - 0.5) * recipe.convnet.batch_size / images),
        tower=replace(
            recipe.tower, epochs=[(tower - 0.5) * recipe.tower.batch_size / images / 2] * 2
        ),
        captioner=replace(
            recipe.captioner, epochs=(captioner - 0.5) * recipe.captioner.batch_size / images
        ),
    )


def with_teacher(run: Path) -> Path:
    """`run` with a convnet that was never trained."""
    import torch
    from safetensors.torch import save_file

    from training.efficientnet import EfficientNetLite0

    torch.manual_seed(0)
    run.mkdir(exist_ok=True)
    save_file(EfficientNetLite0(len(label_table())).state_dict(), run / "convnet.safetensors")
    return run


def picture(number: int, copy: int) -> bytes:
    """A noisy 32 x 24 PNG in the colour of its number."""
    rng = np.random.default_rng((number, copy))
    colour = np.array([number * 67, number * 131, number * 29]) % 256
    pixels = np.clip(colour + rng.normal(0, 12, (24, 32, 3)), 0, 255).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def every_label() -> Rows:
    rows: Rows = {dataset: [] for dataset in DATASET_OF.values()}
    for number, label in enumerate(label_table()):
        splits = ["train"] * IN_TRAIN + ["val", "test"] * (label.name in HELD_BACK)
        for copy, split in enumerate(splits):
            row = dataset_row(label, split, f"{number}-{copy}", picture(number, copy))
            rows[DATASET_OF[label.domain]].append(row)
    return rows


def dataset_row(label: LabelRow, split: str, group: str, image: bytes) -> Row:
    """One picture as its data set spells it."""
    (code,) = label.codes
    row: Row = {"image": image, "label": code, "group": group, "split": split}
    if label.domain == "fundus":
        letter, _, grade = code.partition(":")
        row |= {"label": letter, "caption": f"{grade} retinopathy" if grade else label.name}
    if label.domain == "chest":
        row |= {"label": "normal" if code == "normal" else "pneumonia", "subtype": code}
    return row


def write_datasets(folder: Path, rows: Rows) -> Path:
    for dataset, table in rows.items():
        pq.write_table(pa.Table.from_pylist(table), folder / f"{dataset}.parquet")
    return folder
