"""The first look at a GGUF file, which may come from anywhere."""

import os
import struct
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from gguf_files import F32, text_model, write_gguf

from appliance.errors import ModelFileError
from appliance.release.gguf_header import BLOCKS, read_gguf_header
from appliance.release.manifest import MODEL, PROJECTOR
from appliance.release.shelf import BUILT_IN

SMALL: dict[str, Any] = {
    "general.architecture": "gemma3",
    "general.alignment": 32,
    "a.flag": True,
    "a.number": 0.5,
    "a.words": ["x", "yz"],
    "a.numbers": [1, 2, 3],
}


@pytest.fixture
def small(tmp_path: Path) -> Path:
    tensors = {"w": ((4, 3), F32), "v": ((2,), F32)}
    return write_gguf(tmp_path / "small.gguf", SMALL, tensors)


def test_a_small_file_is_read_as_it_was_written(small: Path) -> None:
    found = read_gguf_header(small)
    assert found.text("general.architecture") == "gemma3"
    assert found.metadata["a.flag"] is True
    assert found.metadata["a.number"] == 0.5
    assert found.metadata["a.words"] == ["x", "yz"]
    numbers: Any = found.metadata["a.numbers"]
    assert list(numbers) == [1, 2, 3]
    assert found.whole("a.flag") is None and found.text("a.number") == ""
    assert found.tensors["w"].shape == (4, 3)
    assert found.tensors["w"].size_bytes == 48


@pytest.mark.parametrize("name", [MODEL, PROJECTOR])
def test_a_real_file_is_read_as_the_gguf_package_reads_it(name: str) -> None:
    from gguf import GGUFReader

    theirs, ours = GGUFReader(BUILT_IN / name), read_gguf_header(BUILT_IN / name)
    tensors = {t.name: (tuple(t.shape), t.tensor_type.name) for t in theirs.tensors}
    assert {key: (t.shape, t.type) for key, t in ours.tensors.items()} == tensors
    fields = {key for key in theirs.fields if not key.startswith("GGUF.")}
    assert set(ours.metadata) == fields
    for key in fields:
        said: Any = ours.metadata[key]
        contents = theirs.fields[key].contents()
        assert (list(said) if isinstance(contents, list) else said) == contents, key


def test_the_table_of_types_is_ggmls() -> None:
    from gguf.constants import GGML_QUANT_SIZES

    theirs = {int(kind): (kind.name, *sizes) for kind, sizes in GGML_QUANT_SIZES.items()}
    assert {kind: BLOCKS[kind] for kind in theirs} == theirs


def test_every_cut_is_noticed(small: Path) -> None:
    content = small.read_bytes()
    last = len(content) - 24  # the padding after the last tensor may be missing
    for length in range(last):
        small.write_bytes(content[:length])
        with pytest.raises(ModelFileError):
            read_gguf_header(small)
    small.write_bytes(content[:last])
    read_gguf_header(small)


def test_a_flipped_bit_is_read_or_refused_and_nothing_else(small: Path) -> None:
    content = bytearray(small.read_bytes())
    refused = 0
    for place in range(len(content) - 96):
        for bit in range(8):
            content[place] ^= 1 << bit
            small.write_bytes(content)
            try:
                read_gguf_header(small)
            except ModelFileError:
                refused += 1
            content[place] ^= 1 << bit
    assert refused > 1000


@pytest.mark.parametrize(
    ("place", "value"),
    [(8, 1 << 63), (16, 1 << 63), (8, (1 << 16) + 1), (16, (1 << 16) + 1), (24, 1 << 40)],
    ids=["tensors", "entries", "many tensors", "many entries", "a key's length"],
)
def test_a_count_beyond_the_file_costs_no_memory(small: Path, place: int, value: int) -> None:
    content = bytearray(small.read_bytes())
    content[place : place + 8] = struct.pack("<Q", value)
    small.write_bytes(content)
    tracemalloc.start()
    try:
        with pytest.raises(ModelFileError, match="not a sound GGUF file"):
            read_gguf_header(small)
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()


def test_only_the_header_of_a_large_file_is_read(tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "large.gguf", *text_model())
    assert path.stat().st_size > 5 << 30
    tracemalloc.start()
    try:
        assert read_gguf_header(path).size_bytes == path.stat().st_size
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "Git LFS pointer"),
        (b"<!DOCTYPE html><html>", "web page"),
        (b"PK\x03\x04 archive/data.pkl", "PyTorch archive"),
        (struct.pack("<Q", 40) + b'{"__metadata__":{}}', "safetensors"),
        (b"GGUF" + struct.pack(">IQQ", 3, 0, 0), "big-endian"),
        (b"GGUF" + struct.pack("<IQQ", 2, 0, 0), "version 2"),
        (b"", "it ends"),
    ],
)
def test_what_is_no_such_file_is_named(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(content)
    with pytest.raises(ModelFileError, match=said):
        read_gguf_header(path)


def test_a_pipe_or_a_folder_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path, tmp_path / "missing"):
        with pytest.raises(ModelFileError):
            read_gguf_header(path)


def test_tensors_must_lie_one_after_the_other(tmp_path: Path, small: Path) -> None:
    content = small.read_bytes()
    name = struct.pack("<Q", 1) + b"v" + struct.pack("<IQI", 1, 2, F32)
    assert content.count(name + struct.pack("<Q", 64)) == 1
    for offset in (0, 32, 96, 1 << 62):
        moved = content.replace(name + struct.pack("<Q", 64), name + struct.pack("<Q", offset))
        small.write_bytes(moved)
        with pytest.raises(ModelFileError, match="does not begin where"):
            read_gguf_header(small)


@pytest.mark.data
def test_hostile_files_are_refused_or_read_whole(shared: Path) -> None:
    files = sorted((shared / "corpora" / "gen" / "gguf").glob("*.gguf"))
    assert len(files) > 80
    for file in files:
        try:
            read_gguf_header(file)
        except ModelFileError as refused:
            assert str(file) in refused.message and "\x1b" not in refused.message
