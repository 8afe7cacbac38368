"""A pair at fewer bits, and nothing rounded further than it says.

    python -m export quantize PAIR OUT --text Q4_K_M --projector Q8_0 --importance FILE

The decoder is quantized by llama.cpp itself, the projector by the gguf package. Which type every
tensor will have is known beforehand: where its rows are no whole blocks, llama.cpp takes another
type without a word, and that is reported here by name. What was written is read back and compared.
"""

import contextlib
import ctypes
import math
import multiprocessing
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from appliance.release.manifest import MODEL, PROJECTOR
from export.aside import refuse_existing, written_aside
from export.errors import ExportError
from export.importance import Importance, read_importance
from export.pair import (
    Fallback,
    Pair,
    ProjectorKind,
    TextKind,
    describe,
    read_pair,
)

if TYPE_CHECKING:
    from gguf import GGUFReader

EMBEDDING = "token_embd.weight"
MAIN_TYPE: dict[TextKind, str] = {
    "F16": "F16",
    "Q8_0": "Q8_0",
    "Q6_K": "Q6_K",
    "Q5_K_M": "Q5_K",
    "Q4_K_M": "Q4_K",
}
"""Of most matrices (llama_ftype_get_default_type)."""
MIXED = ("Q5_K_M", "Q4_K_M")
"""Kinds that hold some of their values and feed-forward matrices at more bits."""
FALLBACK = {"Q4_K": "Q5_0", "Q5_K": "Q5_1", "Q6_K": "Q8_0"}
"""What llama.cpp takes where rows are no whole blocks (tensor_type_fallback); after it, F16."""
BLIND = ("F16", "Q8_0")
"""Text kinds that are rounded alike with and without an importance matrix."""
MOST_BUFFER_BYTES = 256 << 20
"""Of rows that llama.cpp holds at once; its own default, 8 GiB, takes an embedding whole."""
REPORT_EVERY = 50
KEPT_IN_PROJECTOR = ("mm.input_projection.weight", "v.patch_embd.weight", "v.position_embd.weight")
"""clip.cpp transposes the first, which no quantized tensor allows (llama.cpp issue 13025); the
others are what neither its converter nor its quantizer touches (tensor_allows_quantization)."""
STEP = re.compile(r"\[ *(\d+)/ *(\d+)\]")
"""How llama.cpp's log begins a tensor."""
ERROR_LEVEL = 4
"""GGML_LOG_LEVEL_ERROR."""


@dataclass(frozen=True)
class Listed:
    """A tensor as a GGUF file lists it."""

    columns: int
    """Length of a row: GGUF's first dimension."""
    rows: int
    dimensions: int
    stored: str
    """Its type by ggml's name."""


@dataclass(frozen=True)
class Choice:
    """The type of one tensor: wanted by the kind, and given as its columns allow."""

    tensor: Listed
    wanted: str
    given: str

    @property
    def size_bytes(self) -> int:
        block, block_bytes = _block(self.given)
        return self.tensor.rows * (self.tensor.columns // block) * block_bytes


def quantize(
    pair: Path,
    out: Path,
    text: TextKind,
    projector: ProjectorKind,
    importance: Path | None,
    threads: int,
    say: Callable[[str], None],
) -> Pair:
    """The F16 pair in the folder `pair` at fewer bits, in the new folder `out`.

    Raises: ExportError, and then there is nothing at `out`.
    """
    refuse_existing(out)
    whole = read_pair(pair)
    if (whole.source.text, whole.source.projector) != ("F16", "F16"):
        raise ExportError(
            f"{pair}: is {whole.source.text} and {whole.source.projector} already; quantize the "
            "pair that `python -m export gguf` wrote"
        )
    text_types = plan_text(listed(whole.model), text)
    projector_types = plan_projector(listed(whole.projector), projector)
    matters = None
    if importance is not None:
        matters = read_importance(importance)
        _refuse_importance(importance, matters, whole, text, text_types)
    fallbacks = tuple(_fallbacks(text_types | projector_types))
    for fallback in fallbacks:
        say(str(fallback))
    say(f"{EMBEDDING}, the output head too: {text_types[EMBEDDING].given}")
    with written_aside(out) as aside:
        _refuse_little_room(aside, text_types | projector_types)
        if text == "F16":
            shutil.copyfile(whole.model, aside / MODEL)
        else:
            _quantize_text(whole.model, aside / MODEL, text, matters, threads, say)
        _compare(aside / MODEL, text_types)
        say(f"writing {PROJECTOR}")
        if projector == "F16":
            shutil.copyfile(whole.projector, aside / PROJECTOR)
        else:
            _quantize_projector(whole.projector, aside / PROJECTOR, projector_types)
        _compare(aside / PROJECTOR, projector_types)
        source = replace(
            whole.source,
            text=text,
            projector=projector,
            importance_sha256=matters.sha256 if matters else None,
            fallbacks=fallbacks,
        )
        files = describe(aside, source)
    return Pair(out, source, files)


def listed(file: Path) -> dict[str, Listed]:
    """Every tensor of a GGUF file, by name. Raises: ExportError."""
    return {
        tensor.name: Listed(
            columns=int(tensor.shape[0]),
            rows=math.prod(map(int, tensor.shape[1:])),
            dimensions=len(tensor.shape),
            stored=tensor.tensor_type.name,
        )
        for tensor in _read(file).tensors
    }


def plan_text(tensors: Mapping[str, Listed], kind: TextKind) -> dict[str, Choice]:
    """The type that llama.cpp will give each tensor of a `gemma3` file.

    Follows tensor_allows_quantization and llama_tensor_get_type of src/llama-quant.cpp as carried
    by llama-cpp-python 0.3.36, for a model of tied embeddings.
    """
    layers = len({name.split(".")[1] for name in tensors if name.startswith("blk.")})
    return {
        name: _choice(tensor, _wanted(name, kind, layers))
        if tensor.dimensions > 1 and not name.endswith("_norm.weight")
        else Choice(tensor, tensor.stored, tensor.stored)
        for name, tensor in tensors.items()
    }


def plan_projector(tensors: Mapping[str, Listed], kind: ProjectorKind) -> dict[str, Choice]:
    """The type of each tensor of a `clip` file."""
    return {
        name: _choice(tensor, kind)
        if tensor.dimensions == 2 and name not in KEPT_IN_PROJECTOR
        else Choice(tensor, tensor.stored, tensor.stored)
        for name, tensor in tensors.items()
    }


def _wanted(name: str, kind: TextKind, layers: int) -> str:
    if name == EMBEDDING and kind not in BLIND:
        return "Q6_K"
    _, _, part = name.partition(".")
    number, _, part = part.partition(".")
    if kind in MIXED and part in ("attn_v.weight", "ffn_down.weight"):
        layer, eighth = int(number), layers // 8
        if layer < eighth or layer >= 7 * layers // 8 or (layer - eighth) % 3 == 2:
            return "Q6_K"
    return MAIN_TYPE[kind]


def _choice(tensor: Listed, wanted: str) -> Choice:
    given = wanted
    while tensor.columns % _block(given)[0]:
        given = FALLBACK.get(given, "F16")
    return Choice(tensor, wanted, given)


def _block(kind: str) -> tuple[int, int]:
    """Values and bytes of a block."""
    import gguf

    values, size_bytes = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[kind]]
    return values, size_bytes


def _fallbacks(types: Mapping[str, Choice]) -> Iterator[Fallback]:
    for name, choice in types.items():
        if choice.given != choice.wanted:
            yield Fallback(name, choice.tensor.columns, choice.wanted, choice.given)


def _refuse_importance(
    file: Path,
    importance: Importance,
    pair: Pair,
    text: TextKind,
    types: Mapping[str, Choice],
) -> None:
    """llama.cpp leaves out silently what it does not find, and takes any model's for this one."""
    if text in BLIND:
        raise ExportError(f"{text} is rounded alike with and without {file}; leave it out")
    of = importance.weights_sha256
    if of not in (None, pair.source.weights_sha256):
        raise ExportError(
            f"{file} was measured in a model with hash {of[:12]}, {pair.folder} is of "
            f"{pair.source.weights_sha256[:12]}; measure it in the model of the pair"
        )
    for name, choice in types.items():
        if choice.tensor.dimensions > 1 and name != EMBEDDING:
            columns = importance.columns.get(name)
            if columns is None or len(columns) != choice.tensor.columns:
                raise ExportError(
                    f"{file}: has {0 if columns is None else len(columns)} columns for {name}, "
                    f"which has {choice.tensor.columns}; measure it in the model of the pair"
                )


def _refuse_little_room(folder: Path, types: Mapping[str, Choice]) -> None:
    wanted = sum(choice.size_bytes for choice in types.values())
    free = shutil.disk_usage(folder).free
    if wanted > free:
        raise ExportError(
            f"the pair needs {wanted / 1e9:.2f} GB, {folder.parent} has {free / 1e9:.2f} GB free; "
            "make room or choose another folder"
        )


def _compare(file: Path, types: Mapping[str, Choice]) -> None:
    """What was written against what was promised. Raises: ExportError."""
    written = {name: tensor.stored for name, tensor in listed(file).items()}
    promised = {name: choice.given for name, choice in types.items()}
    for name in sorted(written.keys() | promised.keys()):
        if written.get(name) != promised.get(name):
            raise ExportError(
                f"{file.name}: {name} was written as {written.get(name)}, {promised.get(name)} was "
                "expected; is llama-cpp-python the pinned version?"
            )


def _quantize_text(
    source: Path,
    target: Path,
    kind: TextKind,
    importance: Importance | None,
    threads: int,
    say: Callable[[str], None],
) -> None:
    """By llama.cpp, in a process of its own: it aborts on what it did not foresee.

    Raises: ExportError.
    """
    context = multiprocessing.get_context("spawn")
    receiving, sending = context.Pipe(duplex=False)
    arguments = (source, target, kind, importance, threads, sending)
    child = context.Process(target=_child, args=arguments, daemon=True)
    say(f"writing {MODEL}")
    child.start()
    sending.close()
    try:
        while (said := receiving.recv()) is not None:
            if isinstance(said, str):
                raise ExportError(f"{source}: llama.cpp cannot quantize it ({said.strip()})")
            count, total = said
            if count % REPORT_EVERY == 0:
                say(f"{count}/{total} tensors")
    except EOFError as exc:
        child.join()
        raise ExportError(
            f"{source}: llama.cpp's process stopped while quantizing it (exit code "
            f"{child.exitcode}); copy the pair again, or give the machine more memory"
        ) from exc
    finally:
        child.kill()
        child.join()
        receiving.close()


def _child(
    source: Path,
    target: Path,
    kind: TextKind,
    importance: Importance | None,
    threads: int,
    pipe: Connection,
) -> None:
    """Sends (tensor's number, of how many) as it goes, then None, or else what went wrong."""
    import llama_cpp

    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    errors = ["no reason given"]

    @llama_cpp.llama_log_callback  # type: ignore[untyped-decorator]
    def log(level: int, text: bytes, user_data: Any) -> None:
        if step := STEP.match(text.decode(errors="replace")):
            pipe.send((int(step[1]), int(step[2])))
        if level == ERROR_LEVEL:
            errors.append(text.decode(errors="replace"))

    llama_cpp.llama_log_set(log, ctypes.c_void_p(0))
    llama_cpp.llama_backend_init()
    settings = llama_cpp.llama_model_quantize_default_params()
    settings.ftype = getattr(llama_cpp, f"LLAMA_FTYPE_MOSTLY_{kind}")
    settings.nthread = threads
    settings.max_buf_size = MOST_BUFFER_BYTES
    if importance is not None:
        settings.imatrix = _imatrix(importance)
        settings.kv_overrides = _provenance(importance)
    failed = llama_cpp.llama_model_quantize(
        os.fsencode(source), os.fsencode(target), ctypes.byref(settings)
    )
    pipe.send(errors[-1] if failed else None)


def _imatrix(importance: Importance) -> Any:
    """A C array of the entries; one without a name ends it."""
    import llama_cpp

    entries = (llama_cpp.llama_model_imatrix_data * (len(importance.columns) + 1))()
    for entry, (name, columns) in zip(entries, importance.columns.items(), strict=False):
        entry.name = name.encode()
        entry.data = columns.ctypes.data_as(ctypes.POINTER(ctypes.c_float))
        entry.size = len(columns)
    return entries


def _provenance(importance: Importance) -> Any:
    """The keys that llama.cpp's own tool writes into the file, but for its path; ends likewise."""
    import llama_cpp

    said: dict[str, str | int] = {
        "quantize.imatrix.dataset": importance.dataset,
        "quantize.imatrix.entries_count": len(importance.columns),
        "quantize.imatrix.chunks_count": importance.chunks,
    }
    rows = (llama_cpp.llama_model_kv_override * (len(said) + 1))()
    for row, (key, value) in zip(rows, said.items(), strict=False):
        row.key = key.encode()
        if isinstance(value, int):
            row.tag = llama_cpp.LLAMA_KV_OVERRIDE_TYPE_INT
            row.value.val_i64 = value
        else:
            row.tag = llama_cpp.LLAMA_KV_OVERRIDE_TYPE_STR
            row.value.val_str = value.encode()[:127]
    return rows


def _quantize_projector(source: Path, target: Path, types: Mapping[str, Choice]) -> None:
    """Tensor by tensor, with the metadata as it is but for the file's type."""
    import gguf

    reader = _read(source)
    writer = gguf.GGUFWriter(target, "clip")
    for name, field in reader.fields.items():
        if not name.startswith("GGUF.") and name != gguf.Keys.General.ARCHITECTURE:
            of = field.types[-1] if field.types[0] == gguf.GGUFValueType.ARRAY else None
            writer.add_key_value(name, field.contents(), field.types[0], sub_type=of)
    writer.kv_data[0].pop(gguf.Keys.General.FILE_TYPE)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q8_0)
    for tensor in reader.tensors:
        choice = types[tensor.name]
        writer.add_tensor_info(
            tensor.name,
            tensor.data.shape,
            tensor.data.dtype,
            choice.size_bytes,
            gguf.GGMLQuantizationType[choice.given],
        )
    try:
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        for tensor in reader.tensors:
            kind = gguf.GGMLQuantizationType[types[tensor.name].given]
            is_same = kind == tensor.tensor_type
            writer.write_tensor_data(
                tensor.data if is_same else gguf.quants.quantize(tensor.data, kind)
            )
        writer.close()
    except OSError:
        with contextlib.suppress(OSError):  # what a full disk would not take is still to be flushed
            writer.close()
        raise


def _read(file: Path) -> "GGUFReader":
    import gguf

    try:
        return gguf.GGUFReader(file)
    except (OSError, ValueError, KeyError, IndexError) as exc:
        raise ExportError(f"{file}: is no GGUF file ({exc}); make the pair again") from exc
