"""Writing one GGUF file, tensor by tensor, so that memory holds one of them at a time."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from gguf import GGUFWriter


@dataclass(frozen=True)
class TensorPlan:
    """A tensor to be written under `name` as `dtype` (float16 or float32)."""

    name: str
    shape: tuple[int, ...]
    dtype: type[np.float16] | type[np.float32]
    read: Callable[[], NDArray[np.float32]]


def write_gguf(path: Path, writer: "GGUFWriter", plans: Sequence[TensorPlan]) -> None:
    """Write metadata already added to `writer`, then every tensor; aside first, then renamed."""
    for plan in plans:
        size_bytes = int(np.prod(plan.shape)) * np.dtype(plan.dtype).itemsize
        writer.add_tensor_info(plan.name, plan.shape, np.dtype(plan.dtype), size_bytes)
    partial = path.with_suffix(".partial")
    try:
        writer.write_header_to_file(partial)
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        for plan in plans:
            writer.write_tensor_data(np.ascontiguousarray(plan.read().astype(plan.dtype)))
    finally:
        writer.close()
    partial.rename(path)
