"""Claims about quantized pairs: each tensor is of the type that was said, and llama.cpp runs it."""

import json
import resource
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import get_args

import gguf
import numpy as np
import pytest
import torch
from click.testing import CliRunner
from numpy.typing import NDArray

from appliance.release.manifest import MODEL, PROJECTOR, hash_file, read_release
from appliance.wiring import open_captioner
from export.__main__ import main
from export.card import DEMONSTRATION, read_card
from export.draft import draft_manifest, write_draft
from export.errors import ExportError
from export.importance import Inputs, write_matrix
from export.pair import (
    DESCRIPTION,
    Fallback,
    Pair,
    ProjectorKind,
    TextKind,
    read_pair,
    write_pair,
)
from export.quantize import EMBEDDING, listed, quantize
from tests.export.published import TINY, random_weights, write_folder
from training.evaluation.asking import ask_release
from training.evaluation.questions import read_questions

WIDE = replace(
    TINY,
    text={
        **TINY.text,
        "head_dim": 64,
        "hidden_size": 256,
        "intermediate_size": 256,
        "num_attention_heads": 4,
        "num_hidden_layers": 8,
        "num_key_value_heads": 4,
        "query_pre_attn_scalar": 64,
    },
    vision={**TINY.vision, "hidden_size": 64},
)
"""Rows of whole blocks of 256, and eight layers for a mix to choose from; only the tower's second
feed-forward matrix has rows (80) of no whole blocks of 32."""
FEED_FORWARD = "blk.1.ffn_up.weight"

Rounded = Callable[[TextKind, ProjectorKind], Pair]


def quietly(line: str) -> None:
    """Nobody reads a test's progress."""


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    folder = tmp_path_factory.mktemp("wide")
    write_folder(folder / "model", WIDE, random_weights())
    return write_pair(folder / "model", folder / "pair", "wide", quietly)


@pytest.fixture(scope="module")
def narrow(published: Path, tmp_path_factory: pytest.TempPathFactory) -> Pair:
    """Rows of 64 and 96 in the decoder, of 48 and 80 in the tower."""
    return write_pair(published, tmp_path_factory.mktemp("narrow") / "pair", "tiny", quietly)


@pytest.fixture(scope="module")
def rounded(wide: Pair, tmp_path_factory: pytest.TempPathFactory) -> Rounded:
    """The wide pair at the kinds asked for, made once."""
    made: dict[tuple[TextKind, ProjectorKind], Pair] = {}
    folder = tmp_path_factory.mktemp("rounded")

    def at(text: TextKind, projector: ProjectorKind) -> Pair:
        if (text, projector) not in made:
            out = folder / f"{text}-{projector}"
            made[text, projector] = quantize(wide.folder, out, text, projector, None, 1, quietly)
        return made[text, projector]

    return at


def matrices(pair: Pair) -> dict[str, int]:
    """Columns of each of the decoder's matrices that an importance matrix speaks of."""
    tensors = listed(pair.model).items()
    return {
        name: tensor.columns
        for name, tensor in tensors
        if tensor.dimensions > 1 and name != EMBEDDING
    }


def write_importance_of(
    pair: Pair, file: Path, weight: NDArray[np.float64], of: str | None = None
) -> Path:
    """Of two tokens, with `weight` the mean square of every matrix's columns."""
    measured = {
        name: Inputs(torch.from_numpy(2 * np.resize(weight, columns)), tokens=2)
        for name, columns in matrices(pair).items()
    }
    write_matrix(file, measured, "a test", 1, of or pair.source.weights_sha256)
    return file


def types(file: Path) -> dict[str, str]:
    return {tensor.name: tensor.tensor_type.name for tensor in gguf.GGUFReader(file).tensors}


def values(file: Path, name: str) -> NDArray[np.float32]:
    [tensor] = [tensor for tensor in gguf.GGUFReader(file).tensors if tensor.name == name]
    found: NDArray[np.float32] = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
    return found


def test_a_mix_holds_what_llama_cpp_puts_in_it_and_none_of_it_is_a_fallback(
    wide: Pair, tmp_path: Path
) -> None:
    said: list[str] = []
    found = quantize(wide.folder, tmp_path / "out", "Q4_K_M", "F16", None, 1, said.append)
    of = types(found.model)
    better = {name for name, kind in of.items() if kind == "Q6_K"}
    assert better == {EMBEDDING} | {
        f"blk.{layer}.{part}.weight" for layer in (0, 3, 6, 7) for part in ("attn_v", "ffn_down")
    }
    assert {of[name] for name in matrices(wide).keys() - better} == {"Q4_K"}
    assert {kind for name, kind in of.items() if name.endswith("_norm.weight")} == {"F32"}
    assert found.source.fallbacks == ()
    assert f"{EMBEDDING}, the output head too: Q6_K" in said


@pytest.mark.parametrize("kind", get_args(TextKind))
def test_every_kind_is_written_as_it_says_and_stays_near_its_source(
    wide: Pair, rounded: Rounded, kind: TextKind
) -> None:
    found = rounded(kind, "F16")
    assert read_pair(found.folder) == found
    assert found.source == replace(wide.source, text=kind)
    whole, written = (values(file, FEED_FORWARD) for file in (wide.model, found.model))
    most = {"F16": 0, "Q8_0": 0.01, "Q6_K": 0.02, "Q5_K_M": 0.05, "Q4_K_M": 0.1}[kind]
    assert np.linalg.norm(written - whole) <= most * np.linalg.norm(whole)


def test_a_pair_at_f16_is_the_pair_byte_for_byte(wide: Pair, rounded: Rounded) -> None:
    assert rounded("F16", "F16").files == wide.files


def test_rows_of_no_whole_blocks_are_named_with_what_they_became(
    narrow: Pair, tmp_path: Path
) -> None:
    said: list[str] = []
    found = quantize(narrow.folder, tmp_path / "out", "Q4_K_M", "Q8_0", None, 1, said.append)
    by_name = {fallback.name: fallback for fallback in found.source.fallbacks}
    assert len(by_name) == len(matrices(narrow)) + 1 + 6 * 2  # the embedding; of two tower layers
    assert by_name["blk.1.attn_q.weight"] == Fallback("blk.1.attn_q.weight", 64, "Q4_K", "Q5_0")
    assert by_name[EMBEDDING] == Fallback(EMBEDDING, 64, "Q6_K", "Q8_0")
    assert by_name["v.blk.1.ffn_down.weight"].given == "F16"
    of = types(found.model) | types(found.projector)
    assert all(of[name] == fallback.given for name, fallback in by_name.items())
    assert "blk.1.attn_q.weight: 64 columns are no whole blocks of Q4_K: Q5_0 instead" in said
    assert read_pair(tmp_path / "out").source.fallbacks == found.source.fallbacks


def test_of_the_projector_whole_rows_are_quantized_and_what_clip_needs_is_kept(
    rounded: Rounded,
) -> None:
    found = rounded("F16", "Q8_0")
    of = types(found.projector)
    assert {name for name, kind in of.items() if kind == "Q8_0"} == {
        f"v.blk.{layer}.{part}.weight"
        for layer in (0, 1)
        for part in ("attn_q", "attn_k", "attn_v", "attn_out", "ffn_up")
    }
    assert {name for name, kind in of.items() if kind == "F16"} == {
        "mm.input_projection.weight",
        *(f"v.blk.{layer}.ffn_down.weight" for layer in (0, 1)),
    }
    assert [fallback.columns for fallback in found.source.fallbacks] == [80, 80]


def test_the_projectors_metadata_stays_but_for_the_files_type(wide: Pair, rounded: Rounded) -> None:
    found = rounded("F16", "Q8_0")
    old, new = (
        {
            name: (field.types, field.contents())
            for name, field in gguf.GGUFReader(file).fields.items()
            if not name.startswith("GGUF.")
        }
        for file in (wide.projector, found.projector)
    )
    assert old.pop("general.file_type") != new.pop("general.file_type")
    assert new == old


def test_the_projectors_rounding_is_llama_cpps_own(wide: Pair, rounded: Rounded) -> None:
    """Both quantize the decoder's matrix from the same F16 to Q8_0."""
    found = rounded("Q8_0", "F16")
    whole, theirs = (
        {tensor.name: tensor.data for tensor in gguf.GGUFReader(file).tensors}[FEED_FORWARD]
        for file in (wide.model, found.model)
    )
    ours = gguf.quants.quantize(whole, gguf.GGMLQuantizationType.Q8_0)
    assert np.array_equal(ours, theirs)


def test_columns_that_matter_are_rounded_more_carefully(
    wide: Pair, rounded: Rounded, tmp_path: Path
) -> None:
    weight = np.where(np.arange(256) % 8 == 0, 100.0, 0.01)
    file = write_importance_of(wide, tmp_path / "importance.gguf", weight)
    found = quantize(wide.folder, tmp_path / "out", "Q4_K_M", "F16", file, 1, quietly)
    whole = values(wide.model, FEED_FORWARD)
    with_it, without = (
        float(np.linalg.norm((values(pair.model, FEED_FORWARD) - whole)[:, weight > 1]))
        for pair in (found, rounded("Q4_K_M", "F16"))
    )
    assert with_it < 0.8 * without
    assert found.source.importance_sha256 == hash_file(file)
    fields = gguf.GGUFReader(found.model).fields  # as llama.cpp's own tool leaves them
    assert fields["quantize.imatrix.dataset"].contents() == "a test"
    assert fields["quantize.imatrix.entries_count"].contents() == len(matrices(wide))
    assert str(tmp_path).encode() not in found.model.read_bytes()


def test_the_quantized_pair_reads_pictures_as_the_whole_one_does(
    model: Path, pair: Path, data: Path, tmp_path: Path
) -> None:
    """llama.cpp loads both files, encodes the picture and writes the caption."""
    questions, card, scores = read_questions(data, "test"), read_card(DEMONSTRATION), []
    small = quantize(pair, tmp_path / "small", "Q8_0", "Q8_0", None, 1, quietly)
    assert "Q8_0" in types(small.projector).values()
    for each in (read_pair(pair), small):
        draft = tmp_path / f"draft-{each.source.text}"
        write_draft(draft, each, draft_manifest(model, each, card, "draft"))
        with open_captioner(read_release(draft), threads=1) as captioner:
            answers = list(ask_release(captioner, questions))
        assert all(answer.text for answer in answers)
        scores.append(np.array([answer.label_scores for answer in answers]))
    assert 0 < np.abs(scores[0] - scores[1]).max() < 0.5


def refused(
    pair: Path, out: Path, reason: str, kind: TextKind = "Q6_K", importance: Path | None = None
) -> None:
    """And nothing is written."""
    with pytest.raises(ExportError, match=reason):
        quantize(pair, out, kind, "F16", importance, 1, quietly)
    assert not out.exists()
    assert not out.with_name(out.name + ".partial").exists()


def test_importance_where_it_changes_nothing_is_refused(wide: Pair, tmp_path: Path) -> None:
    file = write_importance_of(wide, tmp_path / "importance.gguf", np.ones(1))
    refused(wide.folder, tmp_path / "out", "Q8_0 is rounded alike with and", "Q8_0", file)


def test_importance_of_another_model_is_refused(wide: Pair, tmp_path: Path) -> None:
    file = write_importance_of(wide, tmp_path / "importance.gguf", np.ones(1), of="f" * 64)
    refused(wide.folder, tmp_path / "out", "a model with hash ffffffffffff", importance=file)


def test_importance_that_lacks_a_matrix_or_is_of_another_size_is_refused(
    wide: Pair, narrow: Pair, tmp_path: Path
) -> None:
    file = write_importance_of(
        narrow, tmp_path / "small.gguf", np.ones(1), of=wide.source.weights_sha256
    )
    reason = r"has (64|96) columns for blk\.0\.\w+\.weight, which has 256"
    refused(wide.folder, tmp_path / "out", reason, importance=file)
    one = {"blk.0.attn_k.weight": Inputs(torch.ones(256), 1)}
    write_matrix(tmp_path / "one.gguf", one, "a test", 1, wide.source.weights_sha256)
    refused(
        wide.folder,
        tmp_path / "out",
        r"has 0 columns for blk\.0\.",
        importance=tmp_path / "one.gguf",
    )


def test_a_pair_that_is_quantized_is_not_quantized_again(rounded: Rounded, tmp_path: Path) -> None:
    refused(rounded("Q8_0", "F16").folder, tmp_path / "out", "is Q8_0 and F16 already")


def test_a_damaged_pair_is_refused_before_llama_cpp_sees_it(wide: Pair, tmp_path: Path) -> None:
    spoiled = tmp_path / "spoiled"
    shutil.copytree(wide.folder, spoiled)
    content = bytearray((spoiled / MODEL).read_bytes())
    content[len(content) // 2] ^= 1
    (spoiled / MODEL).write_bytes(content)
    refused(spoiled, tmp_path / "out", f"{MODEL}: is not the file that {DESCRIPTION} declares")


def declared_anew(folder: Path) -> None:
    """pair.json made true of files that a test changed."""
    described = json.loads((folder / DESCRIPTION).read_text(encoding="utf-8"))
    for name in (MODEL, PROJECTOR):
        described["files"][name] = {
            "sha256": hash_file(folder / name),
            "size_bytes": (folder / name).stat().st_size,
        }
    (folder / DESCRIPTION).write_text(json.dumps(described), encoding="utf-8")


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        (b"\x06\0\0\0\0\0\0\0gemma3", b"\x06\0\0\0\0\0\0\0gemma9", "llama.cpp cannot quantize it"),
        (b"GGUF", b"GGML", "is no GGUF file"),
    ],
)
def test_what_llama_cpp_cannot_read_is_named(
    wide: Pair, tmp_path: Path, old: bytes, new: bytes, reason: str
) -> None:
    spoiled = tmp_path / "spoiled"
    shutil.copytree(wide.folder, spoiled)
    content = (spoiled / MODEL).read_bytes()
    assert old in content
    (spoiled / MODEL).write_bytes(content.replace(old, new, 1))
    declared_anew(spoiled)
    refused(spoiled, tmp_path / "out", f"{spoiled / MODEL}: {reason}")


def test_an_abort_within_llama_cpp_is_an_error_like_another(wide: Pair, tmp_path: Path) -> None:
    spoiled = tmp_path / "spoiled"
    shutil.copytree(wide.folder, spoiled)
    reader = gguf.GGUFReader(spoiled / MODEL, "r+")
    reader.fields["gemma3.block_count"].parts[-1][0] = 100_000
    reader.data.flush()
    declared_anew(spoiled)
    refused(spoiled, tmp_path / "out", r"llama.cpp's process stopped .*exit code -6")


def test_what_is_at_out_already_is_not_overwritten(wide: Pair, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").touch()
    with pytest.raises(ExportError, match="there is something at"):
        quantize(wide.folder, tmp_path / "out", "F16", "F16", None, 1, quietly)
    assert [file.name for file in (tmp_path / "out").iterdir()] == ["mine"]


@contextmanager
def disk_of(size_bytes: int) -> Iterator[None]:
    """Stood in for by the largest file that the system lets this process and its children write."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize(
    ("text", "reason"),
    [("F16", "cannot be written .File too large"), ("Q4_K_M", "llama.cpp cannot quantize it")],
)
def test_a_disk_that_fills_leaves_nothing(
    wide: Pair, tmp_path: Path, text: TextKind, reason: str
) -> None:
    with disk_of(30_000):
        refused(wide.folder, tmp_path / "out", reason, text)


def test_a_disk_that_fills_with_the_projector_leaves_nothing(tmp_path: Path) -> None:
    high = replace(TINY, vision={**TINY.vision, "hidden_size": 64, "num_hidden_layers": 24})
    write_folder(tmp_path / "model", high, random_weights())
    pair = write_pair(tmp_path / "model", tmp_path / "pair", "high", quietly)
    most = pair.files[MODEL].size_bytes
    reason = "cannot be written .the disk took a part only"
    with disk_of(most), pytest.raises(ExportError, match=reason):
        quantize(pair.folder, tmp_path / "out", "F16", "Q8_0", None, 1, quietly)
    assert {path.name for path in tmp_path.iterdir()} == {"model", "pair"}


def test_too_little_room_is_known_before_anything_is_written(
    wide: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = type(shutil.disk_usage(tmp_path))(10**9, 10**9 - 1000, 1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage)
    refused(wide.folder, tmp_path / "out", r"the pair needs 0\.00 GB, .* has 0\.00 GB free")


def test_the_command_says_where_the_pair_is_and_why_one_is_refused(
    wide: Pair, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    asked = ["quantize", str(wide.folder), str(out), "--text", "Q5_K_M", "--projector", "Q8_0"]
    done = CliRunner().invoke(main, [*asked, "--threads", "1"])
    assert (done.exit_code, done.stdout) == (0, f"{out}\n")
    assert "v.blk.0.ffn_down.weight: 80 columns" in done.stderr
    again = CliRunner().invoke(main, asked)
    assert again.exit_code == 1
    assert again.stderr == f"Error: there is something at {out} already; choose another place\n"
