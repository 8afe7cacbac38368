"""Claims about equality with llama.cpp's own converter: keys, values, tensors, bytes.

The kept list (converter_golden.json) holds everywhere; where LLAMA_CPP_SOURCE names llama.cpp's
source tree, the converter itself runs beside our writers.

Where the two differ, and why:

| source | llama.cpp's converter | ours | why |
|---|---|---|---|
| any | tensors in the order of the files | in the order of names | either is read |
| a tower as transformers 5 spells it | no tower in the mmproj, silently | the tower | a loss |
| no added_tokens_decoder (transformers 5) | <start_of_turn> an ordinary piece | a control token | \
it would be split into characters |
| no tokenizer_config.json | neither chat template nor special ids, so LLaMA's | the template, \
SentencePiece's ids | the end of a text would not be seen |
| no preprocessor_config.json | stops (mean), or pools to 256 tokens | mm_tokens_per_image, 0.5 | \
the model says it |
| lm_head.weight equal to the embedding | a second copy, output.weight | left out | same model, \
1.3 GB less at 4B |
| lm_head.weight of its own; a tensor missing or of another shape; a setting that llama.cpp takes \
otherwise; weights beyond F16 | written | refused | another model than was trained |
"""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest

from export.checkpoint import read_checkpoint
from export.gguf_file import GgufPlan
from export.text_gguf import plan_text, write_text_gguf
from export.vision_gguf import plan_vision, write_vision_gguf
from tests.export.converter_golden import FILE, MODELS, NAME, shortened
from tests.export.llama_converter import VARIABLE, Listing, convert, llama_cpp_source
from tests.export.published import TINY, add_head, random_weights, respell, write_folder

WRITE = {"text": write_text_gguf, "vision": write_vision_gguf}
PLAN = {"text": plan_text, "vision": plan_vision}


@pytest.mark.parametrize("name", MODELS)
def test_keys_and_tensors_are_the_converters(tmp_path: Path, name: str) -> None:
    golden = json.loads(FILE.read_text(encoding="utf-8"))[name]
    folder = write_folder(tmp_path / name, MODELS[name], fill=None)
    checkpoint = read_checkpoint(folder)
    for part, plan in PLAN.items():
        ours = shortened(listing(plan(checkpoint, NAME)))
        assert ours["keys"] == golden[part]["keys"]
        assert ours["tensors"] == golden[part]["tensors"]
    shutil.rmtree(folder)  # 54 GB of holes


def listing(plan: GgufPlan) -> Listing:
    """A plan in the words of the golden file."""
    [keys], [tensors] = plan.writer.kv_data, plan.writer.tensors
    found = {
        "keys": {
            key: [one.type.name, one.sub_type and one.sub_type.name, _text(one.value)]
            for key, one in keys.items()
        },
        "tensors": {key: [one.dtype.name, list(one.shape)] for key, one in tensors.items()},
    }
    as_json: Listing = json.loads(json.dumps(found))
    return as_json


def _text(value: Any) -> Any:
    if isinstance(value, list):
        return [_text(one) for one in value]
    return value.decode() if isinstance(value, bytes) else value


@pytest.fixture(scope="module")
def source() -> Path:
    found = llama_cpp_source()
    if found is None:
        pytest.skip(f"{VARIABLE} does not name llama.cpp's source tree")
    return found


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder(tmp_path_factory.mktemp("published") / "tiny-4b-it", TINY, random_weights())


Change = Callable[[Path], None]


def differences(source: Path, folder: Path, out: Path, part: str) -> set[str]:
    """Keys and tensors that are not the same, bit for bit, in both files."""
    theirs = contents(convert(source, folder, out / "theirs.gguf", "tiny", vision=part == "vision"))
    WRITE[part](read_checkpoint(folder), out / "ours.gguf", "tiny")
    ours = contents(out / "ours.gguf")
    return {name for name in ours.keys() | theirs.keys() if ours.get(name) != theirs.get(name)}


def contents(file: Path) -> dict[str, tuple[Any, ...]]:
    reader = gguf.GGUFReader(file)
    keys = {name: (field.types, field.contents()) for name, field in reader.fields.items()}
    tensors = {
        tensor.name: (tensor.tensor_type, tensor.shape.tolist(), tensor.data.tobytes())
        for tensor in reader.tensors
    }
    return {**keys, **tensors}


@pytest.mark.slow
@pytest.mark.parametrize("part", WRITE)
def test_a_published_folder_becomes_the_same_file(
    source: Path, published: Path, tmp_path: Path, part: str
) -> None:
    assert differences(source, published, tmp_path, part) == set()


def without_decoder(folder: Path) -> None:
    """As transformers 5 saves a tokenizer."""
    file = folder / "tokenizer_config.json"
    described = json.loads(file.read_text(encoding="utf-8"))
    del described["added_tokens_decoder"]
    file.write_text(json.dumps(described), encoding="utf-8")


def without_tokenizer_config(folder: Path) -> None:
    (folder / "tokenizer_config.json").unlink()


def with_tied_head(folder: Path) -> None:
    add_head(folder, lambda embedding: embedding)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (
            without_decoder,
            {"tokenizer.ggml.scores", "tokenizer.ggml.token_type", "tokenizer.ggml.tokens"},
        ),
        (
            without_tokenizer_config,
            {
                *("tokenizer.ggml.scores", "tokenizer.ggml.token_type", "tokenizer.ggml.tokens"),
                *(f"tokenizer.ggml.{kind}_token_id" for kind in ("bos", "eos", "unknown")),
                *("tokenizer.ggml.padding_token_id", "tokenizer.ggml.add_bos_token"),
                *("tokenizer.chat_template", "GGUF.kv_count"),
            },
        ),
        (with_tied_head, {"output.weight", "GGUF.tensor_count", "general.size_label"}),
    ],
)
def test_the_text_model_differs_where_the_table_says(
    source: Path, published: Path, tmp_path: Path, change: Change, expected: set[str]
) -> None:
    folder = Path(shutil.copytree(published, tmp_path / published.name))
    change(folder)
    assert differences(source, folder, tmp_path, "text") == expected


@pytest.mark.slow
def test_a_tower_in_transformers_5_spelling_is_lost_by_the_converter_only(
    source: Path, published: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(published, tmp_path / published.name))
    respell(
        folder, lambda name: "model." + name.replace("vision_tower.vision_model", "vision_tower")
    )
    convert(source, folder, tmp_path / "theirs.gguf", "tiny", vision=True)
    write_vision_gguf(read_checkpoint(folder), tmp_path / "ours.gguf", "tiny")
    write_vision_gguf(read_checkpoint(published), tmp_path / "whole.gguf", "tiny")
    assert not any(name.startswith("v.") for name in contents(tmp_path / "theirs.gguf"))
    assert contents(tmp_path / "ours.gguf") == contents(tmp_path / "whole.gguf")


def test_bfloat16_is_rounded_to_half_as_numpy_rounds(published: Path, tmp_path: Path) -> None:
    """Which is how the converter gets there: float32 first, then nearest, ties to even."""
    checkpoint = read_checkpoint(published)
    write_text_gguf(checkpoint, tmp_path / "ours.gguf", "tiny")
    written = {tensor.name: tensor for tensor in gguf.GGUFReader(tmp_path / "ours.gguf").tensors}
    stored = {tensor.name: tensor for tensor in checkpoint.tensors}
    values = stored["language_model.embed_tokens.weight"].read()
    assert np.array_equal(written["token_embd.weight"].data, values.astype(np.float16))
