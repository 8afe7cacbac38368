"""Claims about the mean of adapters: it is the mean of what they change."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from training.__main__ import main
from training.qlora.average import AverageError, average_adapters

LAYER = "base_model.model.model.language_model.layers.0.mlp.up_proj"


def adapter(folder: Path, seed: int, rank: int = 2, base: str = "b", **config: Any) -> Path:
    """A folder as `qlora` writes it, with one layer of 5 x 3."""
    import torch
    from safetensors.torch import save_file

    generator = torch.Generator().manual_seed(seed)
    folder.mkdir()
    weights = {
        f"{LAYER}.lora_A.weight": torch.randn(rank, 3, generator=generator),
        f"{LAYER}.lora_B.weight": torch.randn(5, rank, generator=generator),
    }
    save_file(weights, folder / "adapter_model.safetensors")
    said = {"r": rank, "lora_alpha": 6, "target_modules": "up_proj", "use_rslora": False} | config
    (folder / "adapter_config.json").write_text(json.dumps(said))
    made_of = {"recipe": {"name": "tiny"}, "base_sha256": base}
    (folder / "training.json").write_text(json.dumps(made_of))
    return folder


def change(folder: Path) -> Any:
    """What the adapter adds to its layer."""
    from export.merge import read_adapter

    pairs, _ = read_adapter(folder)
    (pair,) = pairs.values()
    return pair.scale * (pair.up @ pair.down)


def test_the_mean_changes_what_its_parts_change_on_average(tmp_path: Path) -> None:
    import torch

    parts = [adapter(tmp_path / str(rank), seed=rank, rank=rank) for rank in (1, 2, 4)]
    parts.append(adapter(tmp_path / "root", seed=9, use_rslora=True))
    out = average_adapters(parts, tmp_path / "out")
    torch.testing.assert_close(change(out), sum(map(change, parts)) / 4)
    said = json.loads((out / "training.json").read_text())
    assert said["base_sha256"] == "b" and len(set(said["average_of"])) == 4
    assert not list(tmp_path.glob("*.partial"))


def test_of_an_adapter_and_itself_it_is_that_adapter(tmp_path: Path) -> None:
    import torch

    one = adapter(tmp_path / "one", seed=0)
    torch.testing.assert_close(change(average_adapters([one, one], tmp_path / "out")), change(one))


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        ({"base": "another"}, "was trained on another base"),
        ({"target_modules": "down_proj"}, "adapts other layers"),
    ],
)
def test_adapters_that_have_no_mean_are_named(
    tmp_path: Path, spoil: dict[str, Any], says: str
) -> None:
    one, two = adapter(tmp_path / "one", seed=0), adapter(tmp_path / "two", seed=1, **spoil)
    with pytest.raises(AverageError, match=f"two {says}"):
        average_adapters([one, two], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_folder_that_holds_no_adapter_is_named(tmp_path: Path) -> None:
    one = adapter(tmp_path / "one", seed=0)
    (tmp_path / "two").mkdir()
    asked = ["average", str(one), str(tmp_path / "two"), str(tmp_path / "out")]
    found = CliRunner().invoke(main, asked)
    assert found.exit_code == 1 and f"{tmp_path / 'two'}: no adapter can be read" in found.stderr


def test_one_adapter_is_no_mean(tmp_path: Path) -> None:
    one = adapter(tmp_path / "one", seed=0)
    found = CliRunner().invoke(main, ["average", str(one), str(tmp_path / "out")])
    assert found.exit_code == 1 and "1 adapter: give at least two" in found.stderr
