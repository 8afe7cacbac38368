"""Writing one GGUF file, piece by piece, so that memory holds a few megabytes of weights."""

import contextlib
import math
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from export.errors import ExportError
from export.stored_tensor import PIECE_BYTES, StoredTensor

if TYPE_CHECKING:
    from typing import BinaryIO

    import torch
    from gguf import GGUFWriter, TensorNameMap


@dataclass(frozen=True)
class TensorPlan:
    """A stored tensor to be written under `name`, at F16 or else F32."""

    name: str
    tensor: StoredTensor
    is_half: bool
    shift: float = 0.0
    """Added to every value, at F32: Gemma's norms are stored less one."""

    @property
    def dtype(self) -> type[np.float16] | type[np.float32]:
        return np.float16 if self.is_half else np.float32

    @property
    def size_bytes(self) -> int:
        return math.prod(self.tensor.shape) * np.dtype(self.dtype).itemsize


@dataclass(frozen=True)
class GgufPlan:
    """A file decided upon: metadata and tensor list are in the writer, the tensors still unread."""

    writer: "GGUFWriter"
    tensors: tuple[TensorPlan, ...]


def place(names: "TensorNameMap", tensor: StoredTensor, source: str) -> str:
    """What GGUF calls the tensor that its name map knows as `source`. Raises: ExportError."""
    target = names.get_name(source, try_suffixes=(".weight", ".bias"))
    if target is None:
        raise ExportError(f"{tensor.file}: no place in GGUF for the tensor {tensor.key}")
    return target


def plan_gguf(architecture: str, tensors: Sequence[TensorPlan]) -> GgufPlan:
    """A plan without metadata but for the architecture."""
    import gguf

    writer = gguf.GGUFWriter(None, architecture)
    for plan in tensors:
        writer.add_tensor_info(plan.name, plan.tensor.shape, np.dtype(plan.dtype), plan.size_bytes)
    return GgufPlan(writer, tuple(tensors))


def add_description(writer: "GGUFWriter", folder: Path, name: str) -> None:
    """The `general.` keys: name, size, and what the model card and generation_config.json say.

    Raises: ExportError.
    """
    import gguf
    import yaml  # type: ignore[import-untyped]

    parameters, *experts = writer.get_total_parameter_count()
    try:
        said = gguf.Metadata.load(None, folder.absolute(), name, parameters)
        generation = gguf.Metadata.load_generation_config(folder)
        # gguf 0.19 does not know transformers' name for it; llama.cpp's converter does.
        if said.sampling_penalty_repeat is None:
            said.sampling_penalty_repeat = generation.get("repetition_penalty")
        if said.size_label is None:
            said.size_label = gguf.size_label(parameters, *experts)
        said.set_gguf_meta_model(writer)
    except (yaml.YAMLError, OSError, ValueError, TypeError, AttributeError) as exc:
        raise ExportError(
            f"{folder}: README.md or generation_config.json cannot be read ({exc}); remove it"
        ) from exc
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)


def write_gguf(path: Path, plan: GgufPlan) -> None:
    """Write metadata, then every tensor; aside first, then renamed.

    Raises: ExportError, and then there is nothing new at `path`.
    """
    _refuse_little_room(path, sum(one.size_bytes for one in plan.tensors))
    partial = path.with_name(path.name + ".partial")
    writer = plan.writer
    try:
        writer.write_header_to_file(partial)
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        [file] = writer.fout or []
        writer.write_padding(file, file.tell())
        for one in plan.tensors:
            _write_tensor(file, one)
            writer.write_padding(file, one.size_bytes)
        writer.close()
        partial.rename(path)
    except BaseException as exc:
        with contextlib.suppress(OSError):  # what a full disk would not take is still to be flushed
            writer.close()
        partial.unlink(missing_ok=True)
        if isinstance(exc, OSError):
            raise ExportError(
                f"{path}: cannot be written ({exc.strerror or exc}); make room or choose another "
                "folder"
            ) from exc
        raise


def _refuse_little_room(path: Path, wanted: int) -> None:
    try:
        free = shutil.disk_usage(path.parent).free
    except OSError as exc:
        raise ExportError(f"{path}: cannot be written ({exc.strerror}); choose a folder") from exc
    if wanted > free:
        raise ExportError(
            f"{path} needs {wanted / 1e9:.2f} GB, {path.parent} has {free / 1e9:.2f} GB free; "
            "make room or choose another folder"
        )


def _write_tensor(file: "BinaryIO", plan: TensorPlan) -> None:
    import torch

    kind = torch.float16 if plan.is_half else torch.float32
    buffer = torch.empty(PIECE_BYTES // 2, dtype=kind)  # as many values as bfloat16 has in a piece
    for piece in plan.tensor.pieces():
        values = buffer[: piece.numel()].copy_(piece)  # rounds to nearest, ties to even
        if plan.shift:
            values += plan.shift
        _refuse_infinite(plan, values)
        file.write(values.numpy().data)


def _refuse_infinite(plan: TensorPlan, values: "torch.Tensor") -> None:
    """A weight beyond F16's 65504 would become infinite, and the model silent nonsense."""
    import torch

    if not all(bool(torch.isfinite(end)) for end in torch.aminmax(values)):
        raise ExportError(
            f"{plan.tensor.file}: {plan.tensor.key} holds values that are infinite, not numbers "
            f"or beyond what {plan.name} can store"
        )
