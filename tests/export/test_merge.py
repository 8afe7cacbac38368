"""Claims about folding an adapter in: it is what peft would give, and nothing is lost silently."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from export import merge as merging
from export.errors import ExportError
from export.merge import REPORT, WEIGHTS, merge
from training.adapted import write_made_of
from training.checkpoint import weights_hash

DECODER = r".*language_model.*\.(q_proj|down_proj)"
TOWER = r".*vision_tower.*\.(q_proj|fc1)"


def silent(line: str) -> None:
    pass


def adapted(model: Path, targets: str) -> Any:
    """`model` with an adapter whose every weight is random."""
    from peft import LoraConfig, get_peft_model
    from transformers import Gemma3ForConditionalGeneration

    torch.manual_seed(0)
    base = Gemma3ForConditionalGeneration.from_pretrained(model, dtype=torch.float32)
    found = get_peft_model(base, LoraConfig(r=4, lora_alpha=6, target_modules=targets))
    for name, parameter in found.named_parameters():
        if "lora_" in name:
            torch.nn.init.normal_(parameter, 0, 0.05)
    return found


@pytest.fixture(scope="module")
def adapter(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("adapter")
    adapted(model, f"({DECODER})|({TOWER})").save_pretrained(folder)
    write_made_of(folder, {"base_sha256": weights_hash(model)})
    return folder


@pytest.fixture
def changed(adapter: Path, tmp_path: Path) -> Path:
    return shutil.copytree(adapter, tmp_path / "changed")


def test_the_merged_weights_are_pefts(model: Path, adapter: Path, tmp_path: Path) -> None:
    changes = merge(model, adapter, tmp_path / "merged", silent)
    found = load_file(tmp_path / "merged" / "model.safetensors")
    before = load_file(model / "model.safetensors")
    whole = adapted(model, f"({DECODER})|({TOWER})").merge_and_unload()
    whole.save_pretrained(tmp_path / "pefts")
    expected = load_file(tmp_path / "pefts" / "model.safetensors")
    assert found.keys() == expected.keys()
    for name, tensor in found.items():
        assert torch.allclose(tensor, expected[name], atol=1e-6), name
    differ = {name for name, tensor in found.items() if not tensor.equal(before[name])}
    assert len(changes) == len(differ) == 2 * 2 + 2 * 1  # decoder of two layers, tower of one
    assert all(change.relative > 0.001 for change in changes)


def test_the_rest_of_the_folder_comes_along_and_the_report_stays(
    model: Path, adapter: Path, tmp_path: Path
) -> None:
    out = tmp_path / "merged"
    merge(model, adapter, out, silent)
    names = {file.name for file in model.iterdir()}
    assert {file.name for file in out.iterdir()} == names | {REPORT}
    report = json.loads((out / REPORT).read_text("utf-8"))
    assert report["base_sha256"] == weights_hash(model)
    assert {row["name"].split(".")[0] for row in report["shards"]["model.safetensors"]} == {
        "language_model",
        "vision_tower",
    }


def test_bfloat16_keeps_its_layout(model: Path, changed: Path, tmp_path: Path) -> None:
    base = shutil.copytree(model, tmp_path / "base")
    tensors = {k: v.bfloat16() for k, v in load_file(model / "model.safetensors").items()}
    save_file(tensors, base / "model.safetensors", metadata={"format": "pt"})
    write_made_of(changed, {"base_sha256": weights_hash(base)})
    merge(base, changed, tmp_path / "merged", silent)
    found = load_file(tmp_path / "merged" / "model.safetensors")
    assert {tensor.dtype for tensor in found.values()} == {torch.bfloat16}
    name = next(
        name
        for name in found
        if name.endswith("layers.0.self_attn.q_proj.weight") and "vision" not in name
    )
    lora = load_file(changed / WEIGHTS)
    key = "base_model.model.model.language_model.layers.0.self_attn.q_proj"
    change = lora[f"{key}.lora_B.weight"] @ lora[f"{key}.lora_A.weight"] * 6 / 4
    assert found[name].equal((tensors[name].float() + change).bfloat16())


def test_a_stopped_merge_goes_on_with_the_next_shard(
    model: Path, changed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = shutil.copytree(model, tmp_path / "base")
    tensors = sorted(load_file(base / "model.safetensors").items())
    (base / "model.safetensors").unlink()
    half = len(tensors) // 2
    save_file(dict(tensors[:half]), base / "model-1-of-2.safetensors")
    save_file(dict(tensors[half:]), base / "model-2-of-2.safetensors")
    write_made_of(changed, {"base_sha256": weights_hash(base)})
    merge(base, changed, tmp_path / "whole", silent)

    once = merging._merge_shard

    def stopped(shard: Path, *rest: Any) -> Any:
        if shard.name.startswith("model-2"):
            raise KeyboardInterrupt
        return once(shard, *rest)

    monkeypatch.setattr(merging, "_merge_shard", stopped)
    with pytest.raises(KeyboardInterrupt):
        merge(base, changed, tmp_path / "merged", silent)
    assert not (tmp_path / "merged").exists()

    asked = []

    def counted(shard: Path, *rest: Any) -> Any:
        asked.append(shard.name)
        return once(shard, *rest)

    monkeypatch.setattr(merging, "_merge_shard", counted)
    changes = merge(base, changed, tmp_path / "merged", silent)
    assert asked == ["model-2-of-2.safetensors"]
    assert len(changes) == 6
    for shard in ("model-1-of-2.safetensors", "model-2-of-2.safetensors"):
        whole, merged = (tmp_path / name / shard for name in ("whole", "merged"))
        assert whole.read_bytes() == merged.read_bytes()


def test_another_base_is_refused(model: Path, changed: Path, tmp_path: Path) -> None:
    (changed / "training.json").write_text('{"base_sha256": "00ff"}', "utf-8")
    with pytest.raises(ExportError, match="00ff"):
        merge(model, changed, tmp_path / "merged", silent)


def test_an_adapter_of_an_unnamed_base_is_refused(
    model: Path, changed: Path, tmp_path: Path
) -> None:
    write_made_of(changed, {})
    with pytest.raises(ExportError, match="says which base it was trained on"):
        merge(model, changed, tmp_path / "merged", silent)
    (changed / "training.json").unlink()
    with pytest.raises(ExportError, match="says which base it was trained on") as caught:
        merge(model, changed, tmp_path / "merged", silent)
    assert not (tmp_path / "merged").exists()
    named = str(caught.value).partition(", put ")[2].removesuffix(" into it")
    (changed / "training.json").write_text(f"{{{named}}}", "utf-8")
    merge(model, changed, tmp_path / "merged", silent)


def test_an_untrained_adapter_is_refused(model: Path, changed: Path, tmp_path: Path) -> None:
    zero = {k: v * 0 for k, v in load_file(changed / WEIGHTS).items()}
    save_file(zero, changed / WEIGHTS)
    with pytest.raises(ExportError, match="changes no weight"):
        merge(model, changed, tmp_path / "merged", silent)


def test_a_lost_vision_adapter_is_refused(model: Path, changed: Path, tmp_path: Path) -> None:
    kept = {k: v for k, v in load_file(changed / WEIGHTS).items() if "vision_tower" not in k}
    save_file(kept, changed / WEIGHTS)
    write_made_of(
        changed,
        {"base_sha256": weights_hash(model), "recipe": {"adapter": {"vision": "tuned"}}},
    )
    with pytest.raises(ExportError, match="no vision weight changed"):
        merge(model, changed, tmp_path / "merged", silent)


def test_an_adapter_for_another_model_is_refused(
    model: Path, changed: Path, tmp_path: Path
) -> None:
    more = {k.replace("layers.1.", "layers.7."): v for k, v in load_file(changed / WEIGHTS).items()}
    save_file(more, changed / WEIGHTS)
    with pytest.raises(ExportError, match=r"layers\.7\..* does not have"):
        merge(model, changed, tmp_path / "merged", silent)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("use_dora", True),
        ("modules_to_save", ["lm_head"]),
        ("bias", "all"),
        ("lora_bias", True),
        ("init_lora_weights", "pissa"),
        ("init_lora_weights", "pissa_niter_4"),
        ("alora_invocation_tokens", [5, 6]),
    ],
)
def test_what_is_not_folded_in_is_refused(
    key: str, value: object, model: Path, changed: Path, tmp_path: Path
) -> None:
    config = json.loads((changed / "adapter_config.json").read_text("utf-8"))
    (changed / "adapter_config.json").write_text(json.dumps({**config, key: value}), "utf-8")
    with pytest.raises(ExportError, match=key):
        merge(model, changed, tmp_path / "merged", silent)


def test_a_start_that_leaves_the_base_as_it_is_is_merged(
    model: Path, changed: Path, tmp_path: Path
) -> None:
    config = json.loads((changed / "adapter_config.json").read_text("utf-8"))
    config["init_lora_weights"] = "gaussian"
    (changed / "adapter_config.json").write_text(json.dumps(config), "utf-8")
    assert merge(model, changed, tmp_path / "merged", silent)


def test_a_weight_that_is_no_a_or_b_is_refused(model: Path, changed: Path, tmp_path: Path) -> None:
    weights = load_file(changed / WEIGHTS)
    name = next(name for name in weights if "lora_B" in name)
    bias = name.replace("lora_B.weight", "lora_B.bias")
    save_file({**weights, bias: torch.ones(4)}, changed / WEIGHTS)
    with pytest.raises(ExportError, match=r"lora_B\.bias is no LoRA weight"):
        merge(model, changed, tmp_path / "merged", silent)


def test_a_folder_that_is_no_adapter_is_refused(model: Path, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="no adapter"):
        merge(model, model, tmp_path / "merged", silent)
