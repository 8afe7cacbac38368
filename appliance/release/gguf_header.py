"""What a GGUF file says of itself: metadata, and the name, shape and type of every tensor.

Read before llama.cpp is given a byte of a file that came from anywhere. Everything is bounded by
what the file can hold; no weight is read. Knows the format, version 3
(github.com/ggml-org/ggml, docs/gguf.md), and nothing of models.
"""

import array
import math
import re
import struct
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, TypeAlias

from appliance.errors import ModelFileError

MAGIC, VERSION = b"GGUF", 3
MOST_ENTRIES = 1 << 16
MOST_TENSORS = 1 << 16
MOST_HEADER_BYTES = 128 << 20
"""Gemma 3's is 7 MB, nearly all of it vocabulary."""
MOST_STRING_BYTES = 1 << 20
MOST_STRINGS = 1 << 20
MOST_ALIGNMENT = 1 << 20
MOST_DIMENSIONS = 4
NAME = re.compile(rb"[!-~]{1,127}")
"""Printable ASCII without spaces; llama.cpp takes tensor names of up to 63."""
MOST_TENSOR_NAME = 63

BLOCKS: Mapping[int, tuple[str, int, int]] = {
    0: ("F32", 1, 4),
    1: ("F16", 1, 2),
    2: ("Q4_0", 32, 18),
    3: ("Q4_1", 32, 20),
    6: ("Q5_0", 32, 22),
    7: ("Q5_1", 32, 24),
    8: ("Q8_0", 32, 34),
    9: ("Q8_1", 32, 40),
    10: ("Q2_K", 256, 84),
    11: ("Q3_K", 256, 110),
    12: ("Q4_K", 256, 144),
    13: ("Q5_K", 256, 176),
    14: ("Q6_K", 256, 210),
    15: ("Q8_K", 256, 292),
    16: ("IQ2_XXS", 256, 66),
    17: ("IQ2_XS", 256, 74),
    18: ("IQ3_XXS", 256, 98),
    19: ("IQ1_S", 256, 50),
    20: ("IQ4_NL", 32, 18),
    21: ("IQ3_S", 256, 110),
    22: ("IQ2_S", 256, 82),
    23: ("IQ4_XS", 256, 136),
    24: ("I8", 1, 1),
    25: ("I16", 1, 2),
    26: ("I32", 1, 4),
    27: ("I64", 1, 8),
    28: ("F64", 1, 8),
    29: ("IQ1_M", 256, 56),
    30: ("BF16", 1, 2),
    34: ("TQ1_0", 256, 54),
    35: ("TQ2_0", 256, 66),
    39: ("MXFP4", 32, 17),
    40: ("NVFP4", 64, 36),
    41: ("Q1_0", 128, 18),
    42: ("Q2_0", 64, 18),
}
"""ggml's tensor types that llama.cpp of llama-cpp-python 0.3.36 takes: name, values in a block,
bytes of a block (ggml/src/ggml.c, type_traits)."""

SCALARS = {
    0: "B",
    1: "b",
    2: "H",
    3: "h",
    4: "I",
    5: "i",
    6: "f",
    7: "B",
    10: "Q",
    11: "q",
    12: "d",
}
"""GGUF's number types, as `struct` and `array` spell them."""
BOOL, STRING, ARRAY = 7, 8, 9

OTHER_FILES = (
    (b"version https://git-lfs", "a Git LFS pointer, not the file it stands for"),
    (b"PK\x03\x04", "a zip or PyTorch archive"),
    (b"<", "a web page, not the file that was to be downloaded"),
    (b"{", "a JSON text"),
    (b"ggjt", "an old GGML file"),
)
COPY_AGAIN = "copy or download it again, whole"

Number = int | float | bool
Value: TypeAlias = "Number | str | list[str] | array.array[int] | array.array[float]"


@dataclass(frozen=True)
class TensorInfo:
    shape: tuple[int, ...]
    """As GGUF has it: the dimension that lies together comes first."""
    type: str
    size_bytes: int


@dataclass(frozen=True)
class GgufHeader:
    path: Path
    metadata: Mapping[str, Value]
    tensors: Mapping[str, TensorInfo]
    size_bytes: int
    """Of the whole file."""

    def text(self, key: str) -> str:
        """A text, or an empty one where the key is missing or of another type."""
        value = self.metadata.get(key)
        return value if isinstance(value, str) else ""

    def whole(self, key: str) -> int | None:
        """A whole number, or None where the key is missing or of another type."""
        value = self.metadata.get(key)
        return value if isinstance(value, int) and not isinstance(value, bool) else None


def read_gguf_header(path: Path) -> GgufHeader:
    """Raises: ModelFileError naming the file and what is wrong with it."""
    try:
        if path.exists() and not path.is_file():  # a pipe would hold the command up
            raise ModelFileError(f"not a file: {path}", "give the path of a GGUF file")
        with path.open("rb", buffering=1 << 20) as file:
            return _read(path, file, path.stat().st_size)
    except OSError as exc:
        raise ModelFileError(
            f"the model file cannot be read ({exc.strerror}): {path}",
            "check the path and the file's permissions",
        ) from exc
    except _Malformed as exc:
        raise ModelFileError(f"not a sound GGUF file, {exc}: {path}", COPY_AGAIN) from exc


class _Malformed(Exception):
    """What is wrong, in words that follow "not a sound GGUF file, "."""


class _Bytes:
    """A file read forwards, never past what the header may hold."""

    def __init__(self, file: BinaryIO, size_bytes: int) -> None:
        self._file = file
        self._most = min(size_bytes, MOST_HEADER_BYTES)
        self.place = 0

    def take(self, count: int, what: str) -> bytes:
        if count > self._most - self.place:
            raise _Malformed(f"it ends within {what}")
        found = self._file.read(count)
        if len(found) != count:
            raise _Malformed(f"it ends within {what}")
        self.place += count
        return found

    def number(self, code: str, what: str) -> int:
        [value] = struct.unpack("<" + code, self.take(struct.calcsize(code), what))
        return int(value)

    def string(self, what: str, most: int = MOST_STRING_BYTES) -> bytes:
        length = self.number("Q", what)
        if length > most:
            raise _Malformed(f"{what} is said to have {length:,} bytes")
        return self.take(length, what)

    def refuse_beyond(self, count: int, each_bytes: int, what: str) -> None:
        """A count that the rest of the header cannot hold."""
        if count * each_bytes > self._most - self.place:
            raise _Malformed(f"{what} is said to have {count:,} values")


def _read(path: Path, file: BinaryIO, size_bytes: int) -> GgufHeader:
    source = _Bytes(file, size_bytes)
    _refuse_other_formats(source.take(4, "its first bytes"), file)
    version = source.number("I", "its version")
    if version != VERSION:
        swapped = int.from_bytes(version.to_bytes(4, "little"), "big") == VERSION
        kind = "for big-endian machines" if swapped else f"of version {version}"
        raise _Malformed(f"it is {kind}, and only version {VERSION}, little-endian, is known")
    tensor_count = source.number("Q", "its counts")
    entry_count = source.number("Q", "its counts")
    if tensor_count > MOST_TENSORS or entry_count > MOST_ENTRIES:
        raise _Malformed(f"it is said to have {tensor_count:,} tensors and {entry_count:,} entries")
    metadata: dict[str, Value] = {}
    for _ in range(entry_count):
        key = _name(source, "a key", 127)
        if key in metadata:
            raise _Malformed(f"it has {key} twice")
        metadata[key] = _value(source, key)
    alignment = _alignment(metadata)
    tensors = _tensors(source, tensor_count, alignment)
    if tensors:
        _refuse_cut(_padded(source.place, alignment), tensors, alignment, size_bytes)
    return GgufHeader(path, metadata, tensors, size_bytes)


def _refuse_other_formats(magic: bytes, file: BinaryIO) -> None:
    if magic == MAGIC:
        return
    opening = magic + file.read(60)
    for mark, kind in OTHER_FILES:
        if opening.lstrip().startswith(mark):
            raise _Malformed(f"it is {kind}")
    if opening[8:9] == b"{":
        raise _Malformed("it is a safetensors file, which llama.cpp does not run")
    raise _Malformed("its first bytes are not GGUF's")


def _name(source: _Bytes, what: str, most: int) -> str:
    found = source.string(what)
    if len(found) > most or not NAME.fullmatch(found):
        raise _Malformed(f"{what} is no name")
    return found.decode("ascii")


def _value(source: _Bytes, key: str) -> Value:
    kind = source.number("I", key)
    if kind == STRING:
        return _text(source.string(key))
    if kind == ARRAY:
        return _array(source, key)
    if kind not in SCALARS:
        raise _Malformed(f"{key} is of the unknown type {kind}")
    [value] = struct.unpack("<" + SCALARS[kind], source.take(struct.calcsize(SCALARS[kind]), key))
    number: Number = value
    return bool(number) if kind == BOOL else number


def _array(source: _Bytes, key: str) -> Value:
    kind, count = source.number("I", key), source.number("Q", key)
    if kind == STRING:
        source.refuse_beyond(count, 8, key)
        if count > MOST_STRINGS:
            raise _Malformed(f"{key} is said to have {count:,} values")
        return [_text(source.string(key)) for _ in range(count)]
    if kind not in SCALARS:
        raise _Malformed(f"{key} is a list of the type {kind}")
    code = SCALARS[kind]
    size = struct.calcsize("<" + code)
    source.refuse_beyond(count, size, key)
    values: array.array[int] | array.array[float] = array.array(code)
    if values.itemsize != size:
        values = array.array({"I": "L", "i": "l"}[code])
    values.frombytes(source.take(count * size, key))
    if sys.byteorder == "big":
        values.byteswap()
    return values


def _text(encoded: bytes) -> str:
    """Vocabularies hold single bytes of characters, so what is not UTF-8 is no fault."""
    return encoded.decode("utf-8", "replace")


def _alignment(metadata: Mapping[str, Value]) -> int:
    alignment = metadata.get("general.alignment", 32)
    if not isinstance(alignment, int) or isinstance(alignment, bool):
        raise _Malformed("general.alignment is no whole number")
    if not 0 < alignment <= MOST_ALIGNMENT or alignment & (alignment - 1):
        raise _Malformed(f"general.alignment is {alignment}")
    return alignment


def _tensors(source: _Bytes, count: int, alignment: int) -> dict[str, TensorInfo]:
    """Each must begin where the one before it ended, as llama.cpp asks too."""
    tensors: dict[str, TensorInfo] = {}
    expected_offset = 0
    for _ in range(count):
        name = _name(source, "a tensor's name", MOST_TENSOR_NAME)
        if name in tensors:
            raise _Malformed(f"it has the tensor {name} twice")
        dimensions = source.number("I", name)
        if not 0 < dimensions <= MOST_DIMENSIONS:
            raise _Malformed(f"{name} has {dimensions:,} dimensions")
        shape = tuple(source.number("Q", name) for _ in range(dimensions))
        kind = source.number("I", name)
        if kind not in BLOCKS:
            raise _Malformed(f"{name} is of the type {kind}, which llama.cpp does not know")
        type_name, values, block_bytes = BLOCKS[kind]
        elements = math.prod(shape)
        if elements == 0 or elements >= 1 << 63 or shape[0] % values:
            raise _Malformed(f"{name} has the shape {shape}, impossible for {type_name}")
        size_bytes = elements // values * block_bytes
        offset = source.number("Q", name)
        if offset != expected_offset:
            raise _Malformed(f"{name} does not begin where the tensor before it ends")
        expected_offset += _padded(size_bytes, alignment)
        tensors[name] = TensorInfo(shape, type_name, size_bytes)
    return tensors


def _refuse_cut(
    start: int, tensors: Mapping[str, TensorInfo], alignment: int, size_bytes: int
) -> None:
    sizes = [tensor.size_bytes for tensor in tensors.values()]
    end = start + sum(_padded(size, alignment) for size in sizes[:-1]) + sizes[-1]
    if end > size_bytes:
        raise _Malformed(f"it has {size_bytes:,} bytes of {end:,}: it was cut short")


def _padded(size_bytes: int, alignment: int) -> int:
    return size_bytes + -size_bytes % alignment
