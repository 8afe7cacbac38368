"""A clinic's shard, made by the real case store, and an adapter that it prefers over."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from tests.training.test_corrections import caption_of, keep
from tests.training.tiny_base import write_tiny_base

CORRECTED = 12
ACCEPTED = 4


@pytest.fixture(scope="session")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one shard: moles that were melanomas, and moles."""
    from appliance.edges.case_export import export_corrections
    from appliance.edges.case_store import CaseStore
    from training.labels import label_set

    folder = tmp_path_factory.mktemp("shards")
    with CaseStore(tmp_path_factory.mktemp("clinic") / "cases") as store:
        for number in range(CORRECTED):
            right = caption_of("melanoma")
            keep(store, number, "melanocytic nevus", "corrected", right)
        for number in range(CORRECTED, CORRECTED + ACCEPTED):
            keep(store, number, "melanocytic nevus", "accepted")
        export_corrections(store, folder, lambda sha256: label_set())
    return folder


@pytest.fixture(scope="session")
def reference(tokenizer: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An adapter on a random base, as `qlora` writes one."""
    from training.adapted import write_made_of
    from training.checkpoint import weights_hash
    from training.qlora.recipe import read_qlora_recipe
    from training.qlora.train import add_adapter, load_base

    base = write_tiny_base(tokenizer, tmp_path_factory.mktemp("base"))
    configs = Path(__file__).parents[3] / "training" / "configs"
    committed = read_qlora_recipe(configs / "demonstration-qlora.toml")
    recipe = replace(
        committed,
        base=str(base),
        adapter=replace(committed.adapter, rank=8, dropout=0.0),
        quantization=replace(committed.quantization, kind="none", compute="float32"),
    )
    folder = tmp_path_factory.mktemp("reference")
    add_adapter(load_base(recipe.base, recipe.quantization), recipe).save_pretrained(folder)
    write_made_of(folder, {"recipe": asdict(recipe), "base_sha256": weights_hash(base)})
    return folder
