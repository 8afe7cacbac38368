"""FSDP by configuration: the base in shards, the same weights in the end."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.training.qlora import sharded_run
from tests.training.qlora.tiny_gemma import tiny_gemma
from training.qlora.sharding import require_supported
from training.recipe import RecipeError

SETTINGS = Path(__file__).resolve().parents[3] / "training/configs/accelerate/fsdp.yaml"


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["none", "nf4"])
def test_two_processes_with_half_the_base_each_learn_what_one_does(
    kind: str, tmp_path: Path
) -> None:
    import torch

    for name in ("one", "two"):
        tiny_gemma().save_pretrained(tmp_path / name / "base")
    sharded_run.run(tmp_path / "one", kind)
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--config_file", str(SETTINGS)]
    script = [sharded_run.__file__, str(tmp_path / "two"), kind]
    subprocess.run([*launch, "--mixed_precision=no", *script], check=True)
    one, two = (adapter(tmp_path / name) for name in ("one", "two"))
    assert one.keys() == two.keys()
    for name in one:
        # Adam divides a gradient by its own size, so that rounding shows where it is almost nought
        assert torch.allclose(one[name], two[name], atol=1e-4), name
    assert (tmp_path / "two" / "adapter" / "adapter_model.safetensors").is_file()


def adapter(run: Path) -> dict[str, Any]:
    import torch

    weights: dict[str, Any] = torch.load(run / "qlora.checkpoint", weights_only=True)["adapter"]
    return weights


def test_the_settings_name_the_layers_that_the_model_has() -> None:
    from accelerate.commands.config.config_args import load_config_from_file
    from accelerate.utils import DistributedType

    settings = load_config_from_file(str(SETTINGS))
    assert settings.distributed_type == DistributedType.FSDP
    layer = settings.fsdp_config["fsdp_transformer_layer_cls_to_wrap"]
    assert {layer} == {type(one).__name__ for one in tiny_gemma().model.language_model.layers}
    assert settings.fsdp_config["fsdp_activation_checkpointing"] is False


def test_what_fsdp_cannot_follow_is_refused() -> None:
    from types import SimpleNamespace

    from accelerate.utils import DistributedType

    def accelerator(version: int, mixed_precision: str = "no") -> Any:
        plugin = SimpleNamespace(fsdp_version=version)
        return SimpleNamespace(
            distributed_type=DistributedType.FSDP,
            state=SimpleNamespace(fsdp_plugin=plugin),
            mixed_precision=mixed_precision,
        )

    recipe = sharded_run.recipe("nf4")
    tuned = replace(recipe, adapter=replace(recipe.adapter, vision="tuned"))
    require_supported(accelerator(2), recipe)
    with pytest.raises(RecipeError, match=r"set it to 2, as in training/configs/accelerate"):
        require_supported(accelerator(1), recipe)
    with pytest.raises(RecipeError, match=r"adapter\.vision is 'tuned'"):
        require_supported(accelerator(2), tuned)
    with pytest.raises(RecipeError, match="launch with --mixed_precision no"):
        require_supported(accelerator(2, "bf16"), recipe)
