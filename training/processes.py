"""Which of several processes this is, as `accelerate launch` started them."""

from typing import Any


def processes() -> Any:
    """accelerate's PartialState. Made without a GPU by anybody else it takes each of several
    processes for the only one, so ours is the first to be made."""
    import torch
    from accelerate import PartialState

    return PartialState(cpu=not torch.cuda.is_available())
