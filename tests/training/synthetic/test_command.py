"""`python -m training synthetic` as a person types it."""

import json
from dataclasses import asdict
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from tests.training.synthetic.drawing_set import PIXELS
from training.__main__ import main
from training.synthetic.material import Material
from training.synthetic.train import train_drawing


def typed(*words: str | Path) -> Result:
    return CliRunner().invoke(main, ["synthetic", *map(str, words)])


def as_toml(recipe: dict[str, object]) -> str:
    """Settings first, then the sections."""
    lines = [f"{key} = {json.dumps(each)}" for key, each in recipe.items() if key not in SECTIONS]
    for section in SECTIONS:
        lines.append(f"[{section}]")
        for key, each in dict(recipe[section]).items():  # type: ignore[call-overload]
            inline = (
                ", ".join(f"{k} = {v}" for k, v in each.items()) if key == "domain_share" else ""
            )
            lines.append(f"{key} = {{ {inline} }}" if inline else f"{key} = {json.dumps(each)}")
    return "\n".join(lines) + "\n"


SECTIONS = ("unet", "steps", "drawing")


@pytest.fixture
def config(tmp_path: Path) -> Path:
    file = tmp_path / "tiny.toml"
    file.write_text(as_toml(asdict(PIXELS)), encoding="utf-8")
    return file


def test_a_model_is_drawn_with_after_it_was_trained(
    material: Material, config: Path, tmp_path: Path
) -> None:
    from training.synthetic.command import space, vectors_of
    from training.synthetic.pixel_model import PixelLearner

    run, out = tmp_path / "run", tmp_path / "out"
    with space(None, None) as (towers, heads):
        vectors = vectors_of(towers, heads)(material.texts)
    train_drawing(PixelLearner(PIXELS, material, vectors), PIXELS, material, run, print)
    asked = ("draw", out, "--config", config, "--run", run, "--count", "2")
    found = typed(*asked, "--label", "melanoma", "--caption", "dark, uneven edge")
    assert found.exit_code == 0, found.output
    files = [Path(line) for line in found.stdout.splitlines()]
    assert [file.name for file in files] == [f"synthetic-melanoma-00000{n}.png" for n in (0, 1)]
    assert json.loads(files[0].with_suffix(".json").read_text())["caption"] == "dark, uneven edge"
    again = typed(*asked, "--label", "melanoma")
    assert again.exit_code == 1 and "is there already" in again.output


def test_what_to_draw_must_be_said(config: Path, tmp_path: Path) -> None:
    nothing = typed("draw", tmp_path / "out", "--config", config)
    assert nothing.exit_code == 2 and "--label, --caption or both" in nothing.output
    unknown = typed("draw", tmp_path / "out", "--config", config, "--label", "dragon")
    assert unknown.exit_code == 2 and "'dragon' is none of labels.toml" in unknown.output


def test_a_run_that_was_never_trained_is_said(config: Path, tmp_path: Path) -> None:
    words = ("draw", tmp_path / "out", "--config", config, "--run", tmp_path, "--label", "melanoma")
    found = typed(*words)
    assert found.exit_code == 1 and "run `synthetic train` first" in found.output
