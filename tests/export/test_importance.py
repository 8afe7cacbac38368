"""Claims about the importance matrix: what is measured, on which captions, and its file."""

import json
import resource
import shutil
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from click.testing import CliRunner

from appliance.core.labels import DOMAINS
from export.__main__ import main
from export.errors import ExportError
from export.importance import (
    COUNTS,
    SUMS,
    Inputs,
    draw_captions,
    measure,
    read_importance,
    write_importance,
    write_matrix,
)
from export.quantize import EMBEDDING, listed
from training.checkpoint import weights_hash
from training.conversation import conversation
from training.datasets import DatasetError, read_examples
from training.evaluation.questions import Question, read_questions
from training.labels import label_row
from training.qlora.material import CaptionedImage, read_captions
from training.tokenizer import load_tokenizer

IMAGES = 3


def quietly(line: str) -> None:
    """Nobody reads a test's progress."""


@pytest.fixture(scope="module")
def talking(published: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The published folder, its marks' ids those of its own tokenizer."""
    folder = tmp_path_factory.mktemp("talking") / "model"
    shutil.copytree(published, folder)
    tokenizer: Any = load_tokenizer(folder)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    for key, mark in {
        "image_token_index": "<image_soft_token>",
        "boi_token_index": "<start_of_image>",
        "eoi_token_index": "<end_of_image>",
    }.items():
        config[key] = tokenizer.convert_tokens_to_ids(mark)
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def captions(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the label alone allows to be said of each image."""
    file = tmp_path_factory.mktemp("captions") / "captions.jsonl"
    lines = [
        json.dumps(
            {
                "dataset": example.dataset,
                "row": example.row,
                "split": example.split,
                "caption": asdict(label_row(example.label).caption),
            }
        )
        for example in read_examples(data)[0]
    ]
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return file


@pytest.fixture(scope="module")
def asked(data: Path, captions: Path) -> tuple[list[Question], list[CaptionedImage]]:
    """Some images of the training split, and what is said of them."""
    questions = read_questions(data, "train")[::9][:IMAGES]
    captioned = {row.example: row for row in read_captions(captions, data)}
    return questions, [captioned[question.example] for question in questions]


@pytest.fixture(scope="module")
def written(
    talking: Path, data: Path, captions: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    out = tmp_path_factory.mktemp("importance") / "importance.gguf"
    write_importance(talking, out, data, captions, IMAGES, quietly)
    return out


def test_the_first_layers_inputs_are_the_normed_conversation_with_its_picture(
    talking: Path, asked: tuple[list[Question], list[CaptionedImage]]
) -> None:
    from transformers import Gemma3ForConditionalGeneration

    questions, captioned = asked
    model: Any = Gemma3ForConditionalGeneration.from_pretrained(talking, dtype=torch.float32)
    tokenizer, squares, tokens = load_tokenizer(talking), 0.0, 0
    for question, row in zip(questions, captioned, strict=True):
        said = conversation(tokenizer, model.config.mm_tokens_per_image, row.caption, 1.0)
        rgb = torch.from_numpy(question.square(model.config.vision_config.image_size).copy())
        with torch.no_grad():
            seen = model.get_image_features(rgb.permute(2, 0, 1)[None] / 127.5 - 1).pooler_output
            embedded = model.get_input_embeddings()(torch.tensor([said.ids]))
            embedded[torch.tensor([said.is_image])] = seen[0]
            normed = model.model.language_model.layers[0].input_layernorm(embedded)[0]
        squares, tokens = squares + normed.square().sum(0), tokens + len(said.ids)
    found = measure(talking, questions, captioned, quietly)["blk.0.attn_q.weight"]
    assert found.tokens == tokens
    assert torch.allclose(found.squares.float(), torch.as_tensor(squares), rtol=1e-4)


def test_several_conversations_add_up(
    talking: Path, asked: tuple[list[Question], list[CaptionedImage]]
) -> None:
    questions, captioned = asked
    whole = measure(talking, questions, captioned, quietly)
    first = measure(talking, questions[:1], captioned[:1], quietly)
    rest = measure(talking, questions[1:], captioned[1:], quietly)
    for name, inputs in whole.items():
        assert inputs.tokens == first[name].tokens + rest[name].tokens
        assert torch.allclose(inputs.squares, first[name].squares + rest[name].squares)


def test_every_matrix_of_the_decoder_is_measured(
    talking: Path, written: Path, tmp_path: Path
) -> None:
    from export.pair import write_pair

    pair = write_pair(talking, tmp_path / "pair", "tiny", quietly)
    columns = {name: len(values) for name, values in read_importance(written).columns.items()}
    assert columns == {
        name: tensor.columns
        for name, tensor in listed(pair.model).items()
        if tensor.dimensions > 1 and name != EMBEDDING
    }


def test_the_file_is_llama_cpps(written: Path, talking: Path) -> None:
    """The keys and types that common/imatrix-loader.cpp asks for, and no architecture."""
    reader = gguf.GGUFReader(written)
    kind = gguf.GGUFValueType
    assert "general.architecture" not in reader.fields
    for key, types in {
        "general.type": [kind.STRING],
        "imatrix.datasets": [kind.ARRAY, kind.STRING],
        "imatrix.chunk_count": [kind.UINT32],
        "imatrix.chunk_size": [kind.UINT32],
    }.items():
        assert reader.fields[key].types == types
    assert reader.fields["general.type"].contents() == "imatrix"
    assert reader.fields["imatrix.chunk_count"].contents() == IMAGES
    assert {tensor.tensor_type.name for tensor in reader.tensors} == {"F32"}
    names = [tensor.name for tensor in reader.tensors]
    assert {name.removesuffix(SUMS) for name in names if name.endswith(SUMS)} == {
        name.removesuffix(COUNTS) for name in names if name.endswith(COUNTS)
    }
    assert str(talking).encode() not in written.read_bytes()
    assert read_importance(written).weights_sha256 == weights_hash(talking)


def test_a_mean_is_the_sum_over_the_tokens(tmp_path: Path) -> None:
    file = tmp_path / "a.gguf"
    write_matrix(file, {"a": Inputs(torch.tensor([8.0, 2.0]).double(), 4)}, "a test", 2, "f" * 64)
    found = read_importance(file)
    assert found.columns["a"].tolist() == [2.0, 0.5]
    assert (found.dataset, found.chunks) == ("a test", 2)


def test_the_same_captions_are_drawn_every_time_as_many_of_each_domain(
    data: Path, captions: Path
) -> None:
    captioned = read_captions(captions, data)
    drawn = draw_captions(captioned, 12)
    assert drawn == draw_captions(captioned, 12)
    assert {row.split for row in drawn} == {"train"}
    domains = [row.example.domain for row in drawn]
    assert {domain: domains.count(domain) for domain in DOMAINS} == dict.fromkeys(DOMAINS, 4)
    assert len(set(map(repr, drawn))) == 12


def test_what_one_domain_lacks_the_others_give(data: Path, captions: Path) -> None:
    captioned = read_captions(captions, data)
    train = [row for row in captioned if row.split == "train"]
    few = [row for row in train if row.example.domain == "chest"][:1]
    few += [row for row in train if row.example.domain != "chest"]
    assert len(draw_captions(few, 12)) == 12
    assert len(draw_captions(few, 10_000)) == len(few)


def test_what_is_at_out_already_is_not_overwritten(
    talking: Path, data: Path, captions: Path, tmp_path: Path
) -> None:
    out = tmp_path / "importance.gguf"
    out.write_bytes(b"of yesterday")
    with pytest.raises(ExportError, match=f"there is something at {out} already"):
        write_importance(talking, out, data, captions, IMAGES, quietly)
    assert out.read_bytes() == b"of yesterday"


def test_an_image_that_cannot_be_read_leaves_nothing(
    talking: Path, captions: Path, tmp_path: Path
) -> None:
    from tests.training.tiny import every_label, write_datasets

    rows = every_label()
    for table in rows.values():
        for row in table:
            row["image"] = row["image"][:60]
    (tmp_path / "data").mkdir()
    data = write_datasets(tmp_path / "data", rows)
    with pytest.raises(DatasetError, match=r"row \d+: the image cannot be read"):
        write_importance(talking, tmp_path / "importance.gguf", data, captions, IMAGES, quietly)
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_a_model_whose_layers_overflow_is_named(tmp_path: Path) -> None:
    inputs = {"blk.0.attn_q.weight": Inputs(torch.tensor([1.0, torch.inf]).double(), 1)}
    with pytest.raises(ExportError, match=r"blk\.0\.attn_q\.weight: its inputs are infinite"):
        write_matrix(tmp_path / "a.gguf", inputs, "a test", 1, "f" * 64)
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_fills_leaves_nothing(tmp_path: Path) -> None:
    """Stood in for by the largest file that the system lets this process write."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))
    try:
        with pytest.raises(ExportError, match=r"cannot be written \(the disk took a part only"):
            inputs = {"a": Inputs(torch.ones(100_000).double(), 1)}
            write_matrix(tmp_path / "a.gguf", inputs, "a test", 1, "f" * 64)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(tmp_path.iterdir()) == []


def changed(name: str, value: float) -> Callable[[Path], None]:
    """One number of one tensor replaced in the file."""

    def change(file: Path) -> None:
        reader = gguf.GGUFReader(file, "r+")
        [tensor] = [tensor for tensor in reader.tensors if tensor.name == name]
        tensor.data[0] = value
        reader.data.flush()

    return change


def cut(size_bytes: int) -> Callable[[Path], None]:
    def change(file: Path) -> None:
        file.write_bytes(file.read_bytes()[:size_bytes])

    return change


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (changed("a" + SUMS, np.nan), "a holds no mean of squares"),
        (changed("a" + SUMS, -1.0), "a holds no mean of squares"),
        (changed("a" + COUNTS, 0.0), "no importance matrix can be read .*counts"),
        (cut(300), "no importance matrix can be read"),
        (cut(3), "no importance matrix can be read"),
        (cut(0), "no importance matrix can be read"),
        (lambda file: file.unlink(), "no importance matrix can be read .*No such file"),
    ],
)
def test_a_file_that_is_no_importance_matrix_is_refused(
    tmp_path: Path, spoil: Callable[[Path], None], reason: str
) -> None:
    file = tmp_path / "a.gguf"
    write_matrix(file, {"a": Inputs(torch.ones(64).double(), 1)}, "a test", 1, "f" * 64)
    spoil(file)
    with pytest.raises(ExportError, match=f"{file}: {reason}"):
        read_importance(file)


def test_a_model_is_no_importance_matrix(published: Path, tmp_path: Path) -> None:
    from export.checkpoint import read_checkpoint
    from export.vision_gguf import write_vision_gguf

    write_vision_gguf(read_checkpoint(published), tmp_path / "mmproj.gguf", "tiny")
    with pytest.raises(ExportError, match=r"no importance matrix can be read .*imatrix\.datasets"):
        read_importance(tmp_path / "mmproj.gguf")


def test_the_command_writes_the_file_and_says_what_it_measures(
    talking: Path, data: Path, captions: Path, tmp_path: Path
) -> None:
    out = tmp_path / "importance.gguf"
    asked = ["importance", str(talking), str(out), "--data", str(data), "--images", "1"]
    done = CliRunner().invoke(main, [*asked, "--captions", str(captions)])
    assert (done.exit_code, done.stdout) == (0, f"{out}\n")
    assert "measuring on 1 conversations" in done.stderr
    assert read_importance(out).chunks == 1


def test_the_command_says_in_one_line_which_caption_is_none(
    talking: Path, data: Path, tmp_path: Path
) -> None:
    (tmp_path / "captions.jsonl").write_text("{}\n", encoding="utf-8")
    asked = ["importance", str(talking), str(tmp_path / "out.gguf"), "--data", str(data)]
    done = CliRunner().invoke(main, [*asked, "--captions", str(tmp_path / "captions.jsonl")])
    assert done.exit_code == 1
    assert done.stderr.startswith("Error: ") and "line 1: not a caption" in done.stderr
    assert done.stderr.count("\n") == 1
