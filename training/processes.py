"""Which of several processes this is, as `accelerate launch` started them."""

from datetime import timedelta
from typing import Any

LONGEST_WAIT = timedelta(hours=24)
"""While one process looks through all pictures, the others wait for what it makes; by itself NCCL
ends a wait after ten minutes."""


def processes() -> Any:
    """accelerate's PartialState. Made without a GPU by anybody else it takes each of several
    processes for the only one, so ours is the first to be made."""
    import torch
    from accelerate import PartialState

    return PartialState(cpu=not torch.cuda.is_available(), timeout=LONGEST_WAIT)
