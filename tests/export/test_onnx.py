"""Claims about the ONNX files: they give what transformers, llama.cpp and the index's reader give,
or they are not written."""

import json
import shutil
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from numpy.typing import NDArray

from appliance.release.drawings import draw
from appliance.release.manifest import (
    ENCODER,
    ENCODER_INT8,
    ENCODER_REPORT,
    hash_file,
    read_release,
)
from appliance.wiring import open_captioner
from cpg_store.embed import Embedder
from export import onnx_encoder, onnx_file
from export.__main__ import main
from export.checkpoint import read_checkpoint
from export.errors import ExportError
from export.onnx_embedder import FP32, INT8, caption_texts, fidelity, write_embedder
from export.onnx_embedder import Fidelity as TextFidelity
from export.onnx_embedder import refuse_outside as refuse_embedder
from export.onnx_encoder import (
    Fidelity,
    as_pixels,
    load_tower,
    refuse_outside,
    relative_error,
    write_encoder,
    write_graphs,
)
from export.onnx_encoder import onnx_encoder as opened
from export.text_gguf import write_text_gguf
from export.vision_gguf import write_vision_gguf
from tests.benchmarks.encoder import ggml
from training.evaluation.embedder import INSTALLED

WriteRelease = Callable[..., Path]

SIZE, PATCHES, TOKENS, WIDTH = 56, 16, 4, 64
"""Of the published tiny model."""
TEXTS = ["diabetic retinopathy", "a mole with an irregular border", "Pneumonia of the LEFT lung"]


def quietly(line: str) -> None:
    """Nobody reads a test's progress."""


@pytest.fixture(scope="module")
def encoder(published: Path, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("onnx") / "encoder"
    write_encoder(published, out, data, 2, 1, quietly)
    return out


@pytest.fixture(scope="module")
def pictures() -> NDArray[np.uint8]:
    """Three, in bands of colour with noise."""
    rng = np.random.default_rng(0)
    bands = rng.integers(0, 256, (3, 4, 1, 3)).repeat(SIZE // 4, 1)
    return np.clip(bands + rng.normal(0, 20, (3, SIZE, SIZE, 3)), 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def pixels(pictures: NDArray[np.uint8]) -> NDArray[np.float32]:
    return np.concatenate([as_pixels(rgb) for rgb in pictures])


@pytest.fixture(scope="module")
def wanted(published: Path, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
    """transformers' own soft tokens of the pictures."""
    import torch
    from transformers import Gemma3ForConditionalGeneration

    model: Any = Gemma3ForConditionalGeneration.from_pretrained(published, dtype=torch.float32)
    with torch.inference_mode():
        tokens: NDArray[np.float32] = model.get_image_features(
            torch.from_numpy(pixels)
        ).pooler_output.numpy()
    return tokens


@pytest.mark.parametrize(("name", "most"), [(ENCODER, 1e-5), (ENCODER_INT8, 0.1)])
def test_the_encoder_gives_transformers_soft_tokens(
    encoder: Path,
    pixels: NDArray[np.float32],
    wanted: NDArray[np.float32],
    name: str,
    most: float,
) -> None:
    found = opened(encoder / name, threads=1)(pixels)
    assert found.shape == (3, TOKENS, WIDTH)
    assert relative_error(found, wanted).max() < most


def test_the_encoder_gives_llama_cpps_soft_tokens(
    encoder: Path, published: Path, pictures: NDArray[np.uint8], tmp_path: Path
) -> None:
    """Not multiplied by the root of the width, as llama.cpp multiplies the words."""
    checkpoint = read_checkpoint(published)
    write_text_gguf(checkpoint, tmp_path / "model.gguf", "tiny")
    write_vision_gguf(checkpoint, tmp_path / "mmproj.gguf", "tiny")
    encode, llama_cpp = opened(encoder / ENCODER, threads=1), ggml(tmp_path, SIZE)
    for rgb in pictures:
        theirs, _ = llama_cpp(rgb)
        assert theirs.shape == (TOKENS, WIDTH)
        assert relative_error(encode(as_pixels(rgb)), theirs[None])[0] < 0.01


@pytest.mark.parametrize(
    ("name", "error", "score"), [("onnx", 1e-3, 0.01), ("onnx-int8", 0.1, 2.0)]
)
def test_the_clinic_reads_with_either_encoder(
    model: Path,
    write: WriteRelease,
    data: Path,
    tmp_path: Path,
    name: str,
    error: float,
    score: float,
) -> None:
    folder = tmp_path / "encoder"
    write_encoder(model, folder, data, 1, 1, quietly)
    release = read_release(write(tmp_path / "release", encoder=folder))
    picture = draw("fundus", 0, release.card.image_size)
    with open_captioner(release, 1) as ggml_side, open_captioner(release, 1, name) as onnx_side:
        theirs, ours = ggml_side.embed(picture)[None], onnx_side.embed(picture)[None]
        assert 0 < relative_error(ours, theirs)[0] < error
        by_ggml, by_onnx = ggml_side.read(picture), onnx_side.read(picture)
    np.testing.assert_allclose(by_onnx.label_scores, by_ggml.label_scores, atol=score)


def test_the_report_names_the_files_and_what_was_measured(encoder: Path, data: Path) -> None:
    report = json.loads((encoder / ENCODER_REPORT).read_text(encoding="utf-8"))
    assert {file.name for file in encoder.iterdir()} == {ENCODER, ENCODER_INT8, ENCODER_REPORT}
    for name in (ENCODER, ENCODER_INT8):
        assert report["files"][name]["sha256"] == hash_file(encoder / name)
        assert report["agreement"]["files"][name]["same_label"] == 1
    exact, rounded = (report["agreement"]["files"][name] for name in (ENCODER, ENCODER_INT8))
    assert exact["largest_error"] < 1e-5 < rounded["mean_error"] <= rounded["largest_error"]
    assert 0 < exact["largest_score_difference"] < rounded["largest_score_difference"]
    assert report["agreement"]["images"] == 5
    assert report["input"]["shape"] == ["images", 3, SIZE, SIZE]
    assert report["output"]["shape"] == ["images", TOKENS, WIDTH]


def test_a_graph_of_more_than_a_file_holds_has_its_weights_beside_it(
    published: Path,
    pixels: NDArray[np.float32],
    wanted: NDArray[np.float32],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(onnx_file, "LARGEST_FILE", 10_000)
    checkpoint = read_checkpoint(published)
    write_graphs(checkpoint, load_tower(checkpoint), tmp_path)
    assert sorted(file.name for file in tmp_path.glob("enc*")) == [
        ENCODER_INT8,
        f"{ENCODER_INT8}.data",
        ENCODER,
        f"{ENCODER}.data",
    ]
    assert (tmp_path / ENCODER).stat().st_size < (tmp_path / f"{ENCODER}.data").stat().st_size
    for name, most in ((ENCODER, 1e-5), (ENCODER_INT8, 0.1)):
        assert relative_error(opened(tmp_path / name, threads=1)(pixels), wanted).max() < most


def test_perceptrons_in_pieces_give_the_same_and_copy_no_weight(
    published: Path,
    pixels: NDArray[np.float32],
    wanted: NDArray[np.float32],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    checkpoint = read_checkpoint(published)
    sizes = []
    for patches in (512, 3):
        monkeypatch.setattr(onnx_encoder, "PATCHES_AT_ONCE", patches)
        folder = tmp_path / str(patches)
        folder.mkdir()
        write_graphs(checkpoint, load_tower(checkpoint), folder)
        graphs = [onnx.load(folder / name).graph for name in (ENCODER, ENCODER_INT8)]
        sizes.append([sum(len(w.raw_data) for w in graph.initializer) for graph in graphs])
        layers = sum(node.op_type == "MultiHeadAttention" for node in graphs[0].node)
        pieces = sum(node.op_type == "Gelu" for node in graphs[0].node) / layers
        assert pieces == -(-PATCHES // patches)
    assert sizes[0] == sizes[1]
    for name, most in ((ENCODER, 1e-5), (ENCODER_INT8, 0.1)):
        found = opened(tmp_path / "3" / name, threads=1)(pixels)
        assert relative_error(found, wanted).max() < most


@pytest.mark.parametrize("weight", [127, -127])
def test_products_of_int8_are_not_cut(tmp_path: Path, weight: int) -> None:
    """The largest there are."""
    from onnx import TensorProto, helper, numpy_helper, save_model

    weights = np.full((256, 32), weight, np.int8)
    graph = helper.make_graph(
        [helper.make_node("MatMulInteger", ["given", "weights"], ["found"])],
        "product",
        [helper.make_tensor_value_info("given", TensorProto.UINT8, [4, 256])],
        [helper.make_tensor_value_info("found", TensorProto.INT32, [4, 32])],
        [numpy_helper.from_array(weights, "weights")],
    )
    opset = [helper.make_opsetid("", onnx_file.OPSET)]
    save_model(helper.make_model(graph, opset_imports=opset, ir_version=9), tmp_path / "x.onnx")
    given = np.full((4, 256), 255, np.uint8)
    (found,) = onnx_file.open_session(tmp_path / "x.onnx", 1).run(None, {"given": given})
    assert np.array_equal(found, given.astype(np.int32) @ weights.astype(np.int32))


def test_a_tower_that_int8_ruins_is_not_written(copied: Path, data: Path, tmp_path: Path) -> None:
    """One channel ten thousand times the others, which no weight reads: nothing is left of them."""
    from safetensors.torch import load_file, save_file

    for file in copied.glob("*.safetensors"):
        weights = load_file(file)
        for name, weight in weights.items():
            if "layer_norm" in name and name.endswith("weight"):
                weight.fill_(1)[0] = 1e4
            if name.endswith(("q_proj.weight", "k_proj.weight", "v_proj.weight", "fc1.weight")):
                weight[:, 0] = 0
            if name.endswith("fc2.weight"):
                weight.mul_(20)
        save_file(weights, file)
    out = tmp_path / "out"
    with pytest.raises(ExportError, match=r"encoder\.int8\.onnx: soft tokens .* not written"):
        write_encoder(copied, out, data, 1, 1, quietly)
    assert not list(tmp_path.glob("out*"))


@pytest.mark.parametrize(
    ("error", "same", "reason"),
    [(2e-3, 1.0, "0.002 from"), (float("nan"), 1.0, "nan from"), (1e-6, 0.99, "99.0% of the")],
)
def test_a_figure_outside_its_margin_is_named(error: float, same: float, reason: str) -> None:
    with pytest.raises(ExportError, match=reason):
        refuse_outside(ENCODER, Fidelity(error, error, same, 0.1))


def test_figures_at_the_margin_are_inside() -> None:
    refuse_outside(ENCODER, Fidelity(1e-3, 1e-3, 0.995, 0.1))


def test_a_damaged_model_leaves_nothing(copied: Path, data: Path, tmp_path: Path) -> None:
    file = max(copied.glob("*.safetensors"))
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(ExportError, match=file.name):
        write_encoder(copied, tmp_path / "out", data, 1, 1, quietly)
    assert not list(tmp_path.glob("out*"))


def test_what_is_at_out_already_is_not_touched(published: Path, data: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("kept")
    for command in (
        ["onnx", str(published), str(tmp_path), "--data", str(data)],
        ["embedder", str(published), str(tmp_path)],
    ):
        result = CliRunner().invoke(main, command)
        assert result.exit_code == 1
        assert f"there is something at {tmp_path} already" in result.output
    assert [file.read_text() for file in tmp_path.glob("mine*")] == ["kept"]


Spoil = Callable[[Path], object]


@pytest.fixture(scope="module")
def sentence_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sentence-transformers folder with the installed one's tokenizer and random weights."""
    import torch
    from transformers import BertConfig, BertModel

    folder = tmp_path_factory.mktemp("sentences")
    torch.manual_seed(0)
    config = BertConfig(
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        initializer_range=0.1,
    )
    BertModel(config).save_pretrained(folder)
    installed = Path(str(files(INSTALLED[0]))) / INSTALLED[1]
    for name in (
        "modules.json",
        "sentence_bert_config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "config_sentence_transformers.json",
    ):
        shutil.copyfile(installed / name, folder / name)
    (folder / "1_Pooling").mkdir()
    pooling = json.loads((installed / "1_Pooling/config.json").read_text(encoding="utf-8"))
    described = json.dumps(pooling | {"word_embedding_dimension": 32})
    (folder / "1_Pooling/config.json").write_text(described, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def embedder(sentence_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("onnx") / "embedder"
    write_embedder(sentence_model, out, caption_texts()[:12], 1, quietly)
    return out


@pytest.mark.parametrize(("precision", "lowest"), [(FP32, 0.999999), (INT8, 0.99)])
def test_the_index_reads_sentence_transformers_vectors(
    sentence_model: Path, embedder: Path, precision: str, lowest: float
) -> None:
    from sentence_transformers import SentenceTransformer

    texts = [*TEXTS, "retinal haemorrhage with hard exudates " * 100]  # longer than it reads
    model = SentenceTransformer(str(sentence_model), device="cpu", local_files_only=True)
    wanted = model.encode(texts, show_progress_bar=False)
    found = Embedder.from_folder(embedder / precision).embed(texts)
    assert (found * wanted).sum(1).min() > lowest


def test_int8_tables_and_matrices_are_a_quarter_of_the_size(embedder: Path) -> None:
    exact, rounded = (
        (embedder / precision / "model.onnx").stat().st_size for precision in (FP32, INT8)
    )
    assert rounded < 0.35 * exact  # the scale of a table's row weighs as much as four of its 32


def test_each_folder_says_what_its_model_takes(embedder: Path) -> None:
    for precision in (FP32, INT8):
        folder = embedder / precision
        report = json.loads((folder / "embedder.json").read_text(encoding="utf-8"))
        assert {file.name for file in folder.iterdir()} == {*report["files"], "embedder.json"}
        for name, file in report["files"].items():
            assert file["sha256"] == hash_file(folder / name)
        assert report["dimension"] == 32
        assert report["longest_input_tokens"] == 256
        assert report["prefixes"] == {}
        assert report["agreement"]["texts"] == 12
        assert 0.99 < report["agreement"]["lowest_cosine"] < 1.0001


def test_a_models_prefixes_are_written_down(sentence_model: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(sentence_model, tmp_path / "model"))
    prompts = {"query": "query: ", "document": ""}
    (folder / "config_sentence_transformers.json").write_text(json.dumps({"prompts": prompts}))
    write_embedder(folder, tmp_path / "out", TEXTS, 1, quietly)
    report = json.loads((tmp_path / "out/int8/embedder.json").read_text(encoding="utf-8"))
    assert report["prefixes"] == {"query": "query: "}


def pooled_by_cls(folder: Path) -> None:
    file = folder / "1_Pooling/config.json"
    settings = json.loads(file.read_text(encoding="utf-8"))
    settings |= {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}
    file.write_text(json.dumps(settings), encoding="utf-8")


def of_a_foreign_module(folder: Path) -> None:
    file = folder / "modules.json"
    modules = json.loads(file.read_text(encoding="utf-8"))
    modules[0]["type"] = "os.path.Transformer"
    file.write_text(json.dumps(modules), encoding="utf-8")


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (pooled_by_cls, "pools by cls"),
        (of_a_foreign_module, r"made of os\.path\.Transformer"),
        (lambda folder: (folder / "tokenizer.json").unlink(), r"no tokenizer\.json"),
        (lambda folder: (folder / "modules.json").unlink(), "no sentence-transformers model"),
        (lambda folder: (folder / "pytorch_model.bin").touch(), "pickled weights"),
        (lambda folder: (folder / "config.json").write_text("{"), "cannot be loaded"),
    ],
)
def test_a_folder_that_is_not_the_plain_kind_is_refused(
    sentence_model: Path, tmp_path: Path, spoil: Spoil, reason: str
) -> None:
    folder = Path(shutil.copytree(sentence_model, tmp_path / "model"))
    spoil(folder)
    with pytest.raises(ExportError, match=reason):
        write_embedder(folder, tmp_path / "out", TEXTS, 1, quietly)
    assert not list(tmp_path.glob("out*"))


def test_vectors_turned_too_far_are_named() -> None:
    with pytest.raises(ExportError, match=r"int8: a vector has the cosine 0\.9500"):
        refuse_embedder(INT8, TextFidelity(0.95, 0.99, 1.0))


def test_fidelity_is_of_the_worst_vector_and_of_neighbours() -> None:
    wanted = np.eye(3, dtype=np.float32)[[0, 0, 1]]
    turned = np.array([[1, 0, 0], [0.6, 0.8, 0], [0, 1, 0]], dtype=np.float32)
    found = fidelity(turned, wanted)
    assert found.lowest_cosine == pytest.approx(0.6)
    assert found.mean_cosine == pytest.approx(2.6 / 3)
    assert found.same_nearest == pytest.approx(1 / 3)
