"""One process of an FSDP run on CPUs, started by `accelerate launch` with the committed settings.

... sharded_run.py RUN KIND     KIND: none or nf4
"""

import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from tests.training.qlora.test_qlora import RECIPE, material
from training.qlora.recipe import QloraRecipe, Quantization


def recipe(kind: Any) -> QloraRecipe:
    return replace(
        RECIPE,
        adapter=replace(RECIPE.adapter, dropout=0.0),
        quantization=Quantization(kind, double=True, compute="float32"),
        steps=replace(RECIPE.steps, gradient_checkpointing=True),
    )


def run(folder: Path, kind: Any, stop_after: int | None = None) -> list[str]:
    """Train in `folder`, which holds `base`; returns what the run said."""
    from training.qlora.train import add_adapter, load_base, train_adapter

    lines: list[str] = []

    def say(line: str) -> None:
        lines.append(line)
        if stop_after is not None and line.startswith(f"step {stop_after}/"):
            raise KeyboardInterrupt

    settings = recipe(kind)
    model = add_adapter(load_base(str(folder / "base"), settings.quantization), settings)
    train_adapter(model, settings, material(), "", folder, say)
    if stop_after is None and "RANK" in os.environ:
        _require_shards(model, kind)
    return lines


def _require_shards(model: Any, kind: str) -> None:
    """That the frozen base, too, was cut among the processes."""
    from torch.distributed.tensor import DTensor

    layers = [
        weight for name, weight in model.named_parameters() if "language_model.layers" in name
    ]
    if not all(isinstance(weight, DTensor) for weight in layers):
        raise RuntimeError(f"{kind}: a decoder layer is held whole")


def main() -> None:
    import torch
    from accelerate import PartialState
    from accelerate.utils import DistributedType

    torch.set_num_threads(1)
    PartialState(cpu=True)
    # accelerate 1.15 looks for FSDP's settings only if its processes hold accelerators; PyTorch
    # shards on CPUs as well.
    PartialState._shared_state["distributed_type"] = DistributedType.MULTI_GPU
    folder, kind = Path(sys.argv[1]), sys.argv[2]
    try:
        run(folder, kind, stop_after=4)
    except KeyboardInterrupt:
        lines = run(folder, kind)
        if "6 steps from 2," not in lines[0]:
            raise RuntimeError(f"did not resume: {lines[0]}") from None


if __name__ == "__main__":
    main()
