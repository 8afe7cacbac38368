"""Tensors that FSDP holds in shards, made whole to be saved and cut again when a run resumes.

A run on one process, or on several with DDP, passes through unchanged.
"""

from collections.abc import Sequence
from typing import Any

from training.qlora.recipe import QloraRecipe
from training.recipe import RecipeError


def is_sharded() -> bool:
    """Whether `accelerate launch` was given an FSDP configuration."""
    from accelerate.utils import parse_flag_from_env

    return bool(parse_flag_from_env("ACCELERATE_USE_FSDP"))


def require_supported(accelerator: Any, recipe: QloraRecipe) -> None:
    """Raises: RecipeError for a way of sharding that would train something else in silence."""
    from accelerate.utils import DistributedType

    if accelerator.distributed_type != DistributedType.FSDP:
        return
    if accelerator.state.fsdp_plugin.fsdp_version != 2:
        raise RecipeError(
            "fsdp_version is 1, which flattens frozen four-bit and learnt weights into one; set "
            "it to 2, as in training/configs/accelerate/fsdp.yaml"
        )
    if recipe.adapter.vision != "frozen":
        raise RecipeError(
            f"adapter.vision is {recipe.adapter.vision!r}: with FSDP only the decoder's layers are "
            "cut; set it to frozen, or train without FSDP"
        )

    wanted = "bf16" if recipe.quantization.compute == "bfloat16" else "no"
    if accelerator.mixed_precision != wanted:
        raise RecipeError(
            f"FSDP would compute with mixed_precision {accelerator.mixed_precision}, the recipe in "
            f"{recipe.quantization.compute}; launch with --mixed_precision {wanted}"
        )


def whole(tensors: dict[str, Any]) -> dict[str, Any]:
    """Each tensor gathered from all processes; every process must call this."""
    return {name: _gathered(tensor) for name, tensor in tensors.items()}


def whole_optimizer(state: dict[str, Any]) -> dict[str, Any]:
    """An optimizer's state_dict() with whole tensors; every process must call this."""
    return {**state, "state": {place: whole(each) for place, each in state["state"].items()}}


def cut_optimizer(state: dict[str, Any], parameters: Sequence[Any]) -> dict[str, Any]:
    """A whole state_dict, each tensor laid out as the parameter it belongs to."""
    return {
        **state,
        "state": {
            place: {name: _cut(value, parameters[place]) for name, value in each.items()}
            for place, each in state["state"].items()
        },
    }


def _gathered(value: Any) -> Any:
    from torch.distributed.tensor import DTensor

    return value.full_tensor() if isinstance(value, DTensor) else value


def _cut(value: Any, parameter: Any) -> Any:
    from torch.distributed.tensor import DTensor, distribute_tensor

    if not isinstance(parameter, DTensor) or value.shape != parameter.shape:
        return value  # a count of steps is one number, the same everywhere
    return distribute_tensor(value, parameter.device_mesh, parameter.placements)
