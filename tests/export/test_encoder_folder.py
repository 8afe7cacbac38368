"""CLIP-type encoders as ONNX: the same vectors as transformers, and an atlas of their own."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from appliance.cli.main import run
from appliance.errors import AtlasError
from appliance.release.drawings import draw, png
from appliance.wiring import open_encoder_folder
from export.atlas import AtlasOrder, write_atlas
from export.encoder_folder import LEAST_COSINE, write_encoder_folder
from export.errors import ExportError
from training.labels import label_table
from training.measured.captions import write_captions

SIDE = 32


def tokenizer_of(folder: Path) -> None:
    """Words of the label table, ended by </s>, padded with it, as SigLIP's is."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace
    from tokenizers.processors import TemplateProcessing
    from transformers import PreTrainedTokenizerFast

    words = sorted({word for row in label_table() for word in row.caption.label.split()})
    vocabulary = {"</s>": 1, "<unk>": 0} | {word: place + 2 for place, word in enumerate(words)}
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.post_processor = TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="</s>", eos_token="</s>", unk_token="<unk>"
    ).save_pretrained(folder)


def checkpoint(kind: str, folder: Path) -> Path:
    import torch
    from transformers import CLIPConfig, CLIPModel, SiglipConfig, SiglipModel

    text = {
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "vocab_size": 64,
        "max_position_embeddings": 24,
        "pad_token_id": 1,
        "bos_token_id": 0,
        "eos_token_id": 1,
    }
    vision = {
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": SIDE,
        "patch_size": 8,
    }
    torch.manual_seed(0)
    model: Any = (
        CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=16))
        if kind == "clip"
        else SiglipModel(SiglipConfig(text_config=text, vision_config=vision))
    )
    model.save_pretrained(folder)
    tokenizer_of(folder)
    settings = {
        "image_processor_type": "SiglipImageProcessor",
        "do_resize": True,
        "size": {"height": SIDE, "width": SIDE},
        "resample": 2,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": [0.5, 0.4, 0.3],
        "image_std": [0.5, 0.6, 0.7],
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(settings))
    return folder


@pytest.fixture(scope="module", params=["clip", "siglip"])
def written(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp(request.param)
    model = checkpoint(request.param, place / "model")
    parity = write_encoder_folder(model, place / "onnx", lambda line: None)
    assert min(parity.pictures, parity.texts) >= LEAST_COSINE
    return place / "onnx"


def test_vectors_are_of_length_one_and_tell_things_apart(written: Path) -> None:
    towers = open_encoder_folder(written)
    assert (towers.identity.kind, towers.identity.image_size) == ("folder", SIDE)
    texts = np.array([towers.text_features(text) for text in ("melanoma", "normal chest")])
    assert np.linalg.norm(texts, axis=1) == pytest.approx(1, abs=1e-5)
    assert abs(texts[0] @ texts[1]) < 0.9999
    small, large = (towers.picture_features(draw("chest", 0, side)) for side in (SIDE, 64))
    assert len(small) == len(large) == texts.shape[1]


def test_the_inner_folder_of_other_tools_is_read_too(written: Path, tmp_path: Path) -> None:
    copied = Path(shutil.copytree(written, tmp_path / "copied"))
    (copied / "onnx").mkdir()
    for graph in copied.glob("*.onnx"):
        graph.rename(copied / "onnx" / graph.name)
    assert (
        open_encoder_folder(copied).identity.sha256 == open_encoder_folder(written).identity.sha256
    )


@pytest.mark.parametrize(
    "name", ["vision_model.onnx", "text_model.onnx", "tokenizer.json", "config.json"]
)
def test_a_folder_that_is_not_whole_is_refused(written: Path, tmp_path: Path, name: str) -> None:
    copied = Path(shutil.copytree(written, tmp_path / "copied"))
    (copied / name).unlink()
    with pytest.raises(AtlasError, match="no encoder can be read"):
        open_encoder_folder(copied)


def test_another_file_is_another_encoder(written: Path, tmp_path: Path) -> None:
    copied = Path(shutil.copytree(written, tmp_path / "copied"))
    settings = json.loads((copied / "preprocessor_config.json").read_text())
    (copied / "preprocessor_config.json").write_text(
        json.dumps({**settings, "image_mean": [0.1, 0.1, 0.1]})
    )
    assert (
        open_encoder_folder(copied).identity.sha256 != open_encoder_folder(written).identity.sha256
    )


def test_a_damaged_graph_is_refused(written: Path, tmp_path: Path) -> None:
    copied = Path(shutil.copytree(written, tmp_path / "copied"))
    (copied / "text_model.onnx").write_bytes(b"no graph")
    with pytest.raises(AtlasError, match="cannot be loaded"):
        open_encoder_folder(copied).text_features("melanoma")


def test_a_model_of_another_kind_is_not_written(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    for name in ("tokenizer.json", "preprocessor_config.json"):
        (folder / name).write_text("{}")
    (folder / "config.json").write_text('{"model_type": "gemma3"}')
    with pytest.raises(ExportError, match="not a clip or siglip"):
        write_encoder_folder(folder, tmp_path / "out", lambda line: None)
    assert not (tmp_path / "out").exists()


def test_an_atlas_of_such_an_encoder_is_made_added_and_searched(
    written: Path,
    data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    captions = write_captions(data, tmp_path / "captions.jsonl", lambda line: None)
    order, run_folder = AtlasOrder("clip", "open", 1), tmp_path / "run"
    made = write_atlas(
        *(order, written, None, data, captions, run_folder, tmp_path / "atlas", 1),
        lambda line: None,
    )
    assert run(["atlas", "add", str(made)]) == 1  # of another encoder than the release's tower
    assert "belongs to the folder" in capsys.readouterr().err
    monkeypatch.setenv("APPLIANCE_ATLAS_ENCODER", str(written))
    assert run(["atlas", "add", str(made)]) == 0
    assert run(["atlas", "find", "melanoma", "--k", "2", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out.splitlines()[-1])["cases"]) == 2
    picture = tmp_path / "picture.png"
    picture.write_bytes(png(draw("chest", 0, 64)))
    assert run(["atlas", "similar", str(picture), "--json"]) == 0
    assert "cases" in json.loads(capsys.readouterr().out)
