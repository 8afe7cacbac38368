"""The mean of adapters that were trained on one base, as one adapter.

    python -m training average ADAPTER ADAPTER... OUT

A soup of models (Wortsman et al. 2022, arXiv:2203.05482): runs of the same recipe and other seeds
differ in what they have learnt by chance, and their mean is often better than each, at the cost of
one. The mean of low-rank changes is a change whose rank is the sum of theirs, so nothing is lost.
"""

import json
import math
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from training.checkpoint import weights_hash

if TYPE_CHECKING:
    import torch

CONFIG, WEIGHTS, MADE_OF = "adapter_config.json", "adapter_model.safetensors", "training.json"
DOWN, UP = ".lora_A.", ".lora_B."


class AverageError(Exception):
    """Adapters that have no mean; the message names the one that does not fit."""


def average_adapters(adapters: Sequence[Path], out: Path) -> Path:
    """Write the mean to the new folder `out`.

    Raises: AverageError, and then there is nothing at `out`.
    """
    from safetensors.torch import save_file

    if out.exists():
        raise AverageError(f"there is something at {out} already; choose another folder")
    if len(adapters) < 2:
        raise AverageError(f"{len(adapters)} adapter: give at least two")
    read = [_read(folder) for folder in adapters]
    config, first, made_of = read[0]
    for folder, (other, weights, made) in zip(adapters[1:], read[1:], strict=True):
        if made.get("base_sha256") != made_of.get("base_sha256"):
            raise AverageError(f"{folder} was trained on another base than {adapters[0]}")
        if weights.keys() != first.keys() or other["target_modules"] != config["target_modules"]:
            raise AverageError(f"{folder} adapts other layers than {adapters[0]}")
    mean = {key: _stacked([(c, w[key]) for c, w, _ in read], key) for key in first}
    rank = sum(config["r"] for config, _, _ in read)
    aside = out.with_name(out.name + ".partial")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    save_file(mean, aside / WEIGHTS, metadata={"format": "pt"})
    said = {**config, "r": rank, "lora_alpha": rank, "use_rslora": False}
    (aside / CONFIG).write_text(json.dumps(said, indent=1) + "\n", encoding="utf-8")
    of = {"recipe": made_of["recipe"], "average_of": [weights_hash(folder) for folder in adapters]}
    of["base_sha256"] = made_of.get("base_sha256")
    (aside / MADE_OF).write_text(json.dumps(of, indent=1) + "\n", encoding="utf-8")
    return aside.rename(out)


def _read(folder: Path) -> tuple[dict[str, Any], dict[str, "torch.Tensor"], dict[str, Any]]:
    """Its configuration, its weights, and what it was made of. Raises: AverageError."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        made_of = json.loads((folder / MADE_OF).read_text(encoding="utf-8"))
        return config, load_file(folder / WEIGHTS), made_of
    except (OSError, ValueError, SafetensorError) as exc:
        raise AverageError(
            f"{folder}: no adapter can be read ({exc}); name a folder that `qlora` wrote"
        ) from exc


def _stacked(parts: "Sequence[tuple[dict[str, Any], torch.Tensor]]", key: str) -> "torch.Tensor":
    """One side of the low-rank change: A, (rank, in), one over the other; B, (out, rank), beside
    each other and scaled, so that the product is the mean of the products."""
    import torch

    if DOWN in key:
        return torch.cat([weight.float() for _, weight in parts]).contiguous()
    if UP not in key:
        raise AverageError(f"{key} is no LoRA weight")
    scaled = [weight.float() * (_scale(config) / len(parts)) for config, weight in parts]
    return torch.cat(scaled, dim=1).contiguous()


def _scale(config: dict[str, Any]) -> float:
    root = math.sqrt(config["r"]) if config.get("use_rslora") else config["r"]
    return float(config["lora_alpha"] / root)
