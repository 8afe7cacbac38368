"""Augmented views where a caption may name a side."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.training.qlora.test_qlora import RECIPE
from tests.training.qlora.tiny_gemma import tiny_gemma
from training.qlora.material import gather, read_captions


def test_views_keep_their_sides_where_captions_may_name_them(
    data: Path, captions_file: Path, tokenizer: Any, tmp_path: Path
) -> None:
    """In one folder, as when the recipe is changed: chest films were kept upright before."""
    model, captioned = tiny_gemma(), read_captions(captions_file, data)
    model.model.multi_modal_projector.mm_input_projection_weight.data.normal_(0, 0.5)

    def views(keeps_sides: bool) -> NDArray[np.float32]:
        recipe = replace(RECIPE, steps=replace(RECIPE.steps, views=2, keeps_sides=keeps_sides))
        material = gather(model, tokenizer, recipe, captioned, data, tmp_path / "run", print)
        every = np.arange(len(captioned))
        tokens = [material.image_tokens(model, every, np.full(len(every), v)) for v in (0, 1)]
        return np.stack([each.float().numpy() for each in tokens], 1)

    free, kept = views(keeps_sides=False), views(keeps_sides=True)
    chest = np.array([each.example.domain == "chest" for each in captioned])
    moved = np.abs(free[:, 1] - kept[:, 1]).max((1, 2)) > 0
    assert not moved[chest].any()
    assert moved[~chest].all()
    assert np.array_equal(free[:, 0], kept[:, 0])
