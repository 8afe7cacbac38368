"""MedGemma's recipe, followed on a tiny model of its architecture; and what it would take."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from tests.training.qlora.test_command import write_base
from tests.training.two_processes import launched
from training.treatment.command import treatment
from training.treatment.recipe import read_treatment_recipe

MEDGEMMA = Path(__file__).resolve().parents[3] / "training/configs/treatment-medgemma-4b-it.toml"
FEWER = {
    "[questions]": {"train": 24, "validation": 4},
    "[optimisation]": {"steps": 2, "look_every": 1, "held_pairs": 2, "answers": 2},
}
"""All that a test cannot afford of it."""


def shortened(base: Path, left_out: Path, config: Path) -> Path:
    """MedGemma's recipe for another base, with fewer questions and steps; every other setting is
    as committed."""
    text = MEDGEMMA.read_text(encoding="utf-8")
    text = re.sub(r'(?m)^base = ".*"$', f'base = "{base}"', text)
    text = text.replace("tests/data/treatment_scenarios.tsv", str(left_out))
    for section, settings in FEWER.items():
        before, opening, after = text.partition(section)
        for key, value in settings.items():
            after, found = re.subn(rf"(?m)^{key} = .*$", f"{key} = {value}", after, count=1)
            assert found == 1
        text = before + opening + after
    config.write_text(text, encoding="utf-8")
    return config


@pytest.mark.slow
def test_medgemmas_recipe_goes_through_both_stages_on_two_processes(
    data: Path, captions_file: Path, tmp_path: Path
) -> None:
    write_base(tmp_path / "base")
    table = MEDGEMMA.parents[2] / "tests" / "data" / "treatment_scenarios.tsv"
    config = shortened(tmp_path / "base", table, tmp_path / "recipe.toml")
    run = tmp_path / "run"
    given = ["--data", str(data), "--captions", str(captions_file), "--run", str(run)]
    said = launched("-m", "training", "treatment", str(config), *given)
    assert len(re.findall(r"qlora: .* steps from 0", said)) == 2
    said = launched("-m", "training", "treatment-optimise", str(config), *given)
    assert said.count("kept the weights of step") == 2
    looks = (run / "optimised" / "looks.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in looks] == [0, 1, 2]
    committed, followed = read_treatment_recipe(MEDGEMMA), read_treatment_recipe(config)
    assert (followed.adapter, followed.quantization) == (committed.adapter, committed.quantization)
    for stage in ("adapter", "optimised/adapter"):
        made_of: dict[str, Any] = json.loads((run / stage / "training.json").read_text())
        assert made_of["base_sha256"]
        assert made_of["recipe"]["quantization"]["kind"] == "nf4"
        assert (run / stage / "adapter_model.safetensors").is_file()
    again = launched("-m", "training", "treatment-optimise", str(config), *given)
    assert "step 1/2" not in again, "it was done already"


def test_a_dry_run_tells_of_both_stages_without_weights() -> None:
    result = CliRunner().invoke(treatment, [str(MEDGEMMA), "--dry-run"], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    assert "google/medgemma-4b-it" in result.output
    assert "4,300,079,472 in the base, 29,802,496 learnt" in result.output
    assert "300 steps of 16 questions with 8 answers each" in result.output
    together = [float(found) for found in re.findall(r"([\d.]+) GB  together", result.output)]
    assert len(together) == 2 and all(4 < amount < 24 for amount in together)


def test_without_a_dry_run_data_are_needed() -> None:
    result = CliRunner().invoke(treatment, [str(MEDGEMMA)])
    assert result.exit_code == 2
    assert "--data, --captions and --run are needed" in result.output
