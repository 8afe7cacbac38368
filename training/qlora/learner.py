"""The model and its loss as one torch module, so that what wraps modules (DDP, FSDP) wraps
both. Imports torch at the top: import it where a model is at hand."""

from typing import Any, Literal

import torch

from training.qlora.packing import Pack, pack_loss


class PackLearner(torch.nn.Module):
    """A model with its adapter; called with a pack and its images, it gives their losses.

    `compute`: with bfloat16 the adapter, held in float32, is computed with as the base is.
    """

    def __init__(self, model: Any, compute: Literal["bfloat16", "float32"]) -> None:
        super().__init__()
        self.model = model
        self.in_bfloat16 = compute == "bfloat16"

    def forward(self, packed: Pack, features: torch.Tensor) -> torch.Tensor:
        with torch.autocast(features.device.type, torch.bfloat16, enabled=self.in_bfloat16):
            return pack_loss(self.model, packed, features)
