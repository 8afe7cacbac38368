"""Claims about damaged, hostile or unfit input, and a disk that fills: named, and nothing left."""

import json
import resource
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from export.checkpoint import read_checkpoint
from export.errors import ExportError
from export.stored_tensor import INDEX, PIECE_BYTES, StoredTensor
from export.text_gguf import write_text_gguf
from export.vision_gguf import plan_vision

HOSTILE = Path(__file__).parents[3] / "shared/corpora/gen/weights"
FIRST, LAST = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"


def rewritten(file: Path, **changes: Any) -> None:
    """A JSON file with some of its fields replaced."""
    settings = {**json.loads(file.read_text(encoding="utf-8")), **changes}
    file.write_text(json.dumps(settings), encoding="utf-8")


def refused(folder: Path, reason: str) -> None:
    with pytest.raises(ExportError, match=reason):
        read_checkpoint(folder)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "consolidated.00.pth"])
def test_pickled_weights_are_refused(copied: Path, name: str) -> None:
    (copied / name).write_bytes(b"\x80\x04.")
    refused(copied, f"pickled weights are not read: {name}")


def test_what_the_trainer_leaves_beside_the_weights_is_not_weights(copied: Path) -> None:
    for name in ("training_args.bin", "optimizer.pt", "scheduler.pt", "rng_state_0.pth"):
        (copied / name).write_bytes(b"\x80\x04.")
    read_checkpoint(copied)


@pytest.mark.data
@pytest.mark.skipif(not HOSTILE.is_dir(), reason="the hostile files are not part of the project")
@pytest.mark.parametrize(
    "name",
    [
        *("evil_named", "hdr_101MB", "hdr_len_2p63", "hole", "notjson", "overlap", "past_eof"),
        *("shape_overflow", "dupkey"),
    ],
)
def test_a_hostile_file_is_refused(copied: Path, name: str) -> None:
    shutil.copy(HOSTILE / f"{name}.safetensors", copied / LAST)
    refused(copied, LAST if name != "dupkey" else f"{LAST}|missing|no place")
    assert not Path("PWNED-marker").exists()


def test_a_cut_file_is_refused_by_name(copied: Path) -> None:
    file = copied / FIRST
    file.write_bytes(file.read_bytes()[:-100])
    refused(copied, f"{file}: damaged, or not safetensors")


def test_a_missing_shard_is_named(copied: Path) -> None:
    (copied / LAST).unlink()
    refused(copied, f"{LAST} missing, which {INDEX} names")


def test_an_index_without_a_map_is_refused(copied: Path) -> None:
    rewritten(copied / INDEX, weight_map=None)
    refused(copied, f"{INDEX}: no weight_map")


def test_an_index_does_not_lead_out_of_the_folder(copied: Path, tmp_path: Path) -> None:
    shutil.move(copied / LAST, tmp_path / LAST)
    index = json.loads((copied / INDEX).read_text(encoding="utf-8"))["weight_map"]
    rewritten(
        copied / INDEX,
        weight_map={key: f"../{at}" if at == LAST else at for key, at in index.items()},
    )
    refused(copied, f"{LAST} missing")


def changed(folder: Path, file: str, change: dict[str, torch.Tensor | None]) -> None:
    tensors: dict[str, torch.Tensor | None] = {**load_file(folder / file), **change}
    kept = {key: value for key, value in tensors.items() if value is not None}
    save_file(kept, folder / file)


QUERY = "language_model.model.layers.3.self_attn.q_proj.weight"


def test_a_missing_tensor_is_named(copied: Path) -> None:
    changed(copied, FIRST, {QUERY: None})
    refused(copied, r"1 tensors .* missing, the first language_model\.layers\.3\.self_attn\.q_proj")


def test_a_tensor_of_another_shape_is_named(copied: Path) -> None:
    changed(copied, FIRST, {QUERY: torch.zeros(32, 64)})
    refused(copied, rf"{FIRST}: {QUERY} is \(32, 64\), config\.json asks for \(64, 64\)")


def test_a_tensor_stored_twice_is_named(copied: Path) -> None:
    changed(copied, LAST, {QUERY: torch.zeros(64, 64)})
    refused(copied, f"{QUERY} is stored twice, in {FIRST} and {LAST}")


def test_an_adapter_that_was_not_merged_is_refused(copied: Path) -> None:
    changed(copied, FIRST, {QUERY.replace("weight", "lora_A.weight"): torch.zeros(4, 64)})
    refused(copied, "no place in GGUF for the tensor .*lora_A.*; merge adapters first")


def test_weights_in_four_bits_are_refused(copied: Path) -> None:
    changed(copied, FIRST, {QUERY: torch.zeros(2048, 1, dtype=torch.uint8)})
    refused(copied, f"{QUERY} is U8; give the model at full precision")
    rewritten(copied / "config.json", quantization_config={"quant_method": "bitsandbytes"})
    refused(copied, "quantized weights")


def test_no_sentencepiece_model_is_refused(copied: Path) -> None:
    (copied / "tokenizer.model").unlink()
    refused(copied, r"no tokenizer\.model \(SentencePiece\)")


@pytest.mark.parametrize("value", [1e6, float("inf"), float("nan")])
def test_a_weight_beyond_half_precision_is_named_and_nothing_is_left(
    copied: Path, tmp_path: Path, value: float
) -> None:
    weights = load_file(copied / FIRST)[QUERY].clone()
    weights[5, 7] = value
    changed(copied, FIRST, {QUERY: weights})
    out = tmp_path / "out"
    out.mkdir()
    with pytest.raises(ExportError, match=f"{FIRST}: {QUERY} holds values that are infinite"):
        write_text_gguf(read_checkpoint(copied), out / "model.gguf", "tiny")
    assert list(out.iterdir()) == []


def test_a_model_card_that_is_no_yaml_is_named(copied: Path, tmp_path: Path) -> None:
    (copied / "README.md").write_text("---\nlicense: [\n---\n", encoding="utf-8")
    with pytest.raises(ExportError, match=r"README\.md .* cannot be read"):
        write_text_gguf(read_checkpoint(copied), tmp_path / "model.gguf", "tiny")


def test_a_processor_of_another_pooling_is_refused(copied: Path) -> None:
    rewritten(copied / "preprocessor_config.json", image_seq_length=256)
    with pytest.raises(ExportError, match=r"image_seq_length 256 .* mm_tokens_per_image 4"):
        plan_vision(read_checkpoint(copied), "tiny")


def test_too_little_room_is_known_before_anything_is_written(
    published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = type(shutil.disk_usage(tmp_path))(10**9, 10**9 - 1000, 1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage)
    with pytest.raises(ExportError, match=rf"needs 0\.00 GB, {tmp_path} has 0\.00 GB free"):
        write_text_gguf(read_checkpoint(published), tmp_path / "model.gguf", "tiny")
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_fills_leaves_no_half_file(published: Path, tmp_path: Path) -> None:
    """Stood in for by the largest file that the system lets this process write."""
    checkpoint, old = read_checkpoint(published), tmp_path / "model.gguf"
    old.write_bytes(b"of yesterday")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, hard))
    try:
        with pytest.raises(ExportError, match=r"model\.gguf: cannot be written \(File too large"):
            write_text_gguf(checkpoint, old, "tiny")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [file.name for file in tmp_path.iterdir()] == ["model.gguf"]
    assert old.read_bytes() == b"of yesterday"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
def test_a_disk_that_is_full_from_the_start_too(published: Path, tmp_path: Path) -> None:
    """Written through to /dev/full: even closing the file fails there."""
    (tmp_path / "model.gguf.partial").symlink_to("/dev/full")
    with pytest.raises(ExportError, match="cannot be written"):
        write_text_gguf(read_checkpoint(published), tmp_path / "model.gguf", "tiny")
    assert list(tmp_path.iterdir()) == []


def test_a_source_that_shrinks_while_it_is_read_is_named(copied: Path, tmp_path: Path) -> None:
    checkpoint = read_checkpoint(copied)
    (copied / FIRST).write_bytes((copied / FIRST).read_bytes()[:40_000])
    out = tmp_path / "out"
    out.mkdir()
    with pytest.raises(ExportError, match=f"{FIRST}: ends within language_model"):
        write_text_gguf(checkpoint, out / "model.gguf", "tiny")
    assert list(out.iterdir()) == []


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_a_tensor_of_several_pieces_is_read_whole(tmp_path: Path, dtype: torch.dtype) -> None:
    from export.stored_tensor import tensors_in

    rows = 3 * PIECE_BYTES // 4 // 1000
    values = torch.randn(rows, 1000).to(dtype)
    save_file({"before": torch.ones(3), "a": values}, tmp_path / "a.safetensors")
    [row] = [row for row in tensors_in(tmp_path / "a.safetensors") if row[0] == "a"]
    key, kind, shape, start, size = row
    tensor = StoredTensor(key, shape, tmp_path / "a.safetensors", key, kind, start, size)
    assert sum(piece.numel() for piece in tensor.pieces()) == values.numel()
    assert np.array_equal(tensor.read(), values.float().numpy())
