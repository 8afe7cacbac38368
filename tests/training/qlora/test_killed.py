"""A run that is killed, however often, ends with the weights of one that was not."""

from pathlib import Path

from tests.training.qlora.killed_run import finish_with_kills

KILLS = (3, 11, 17, 2, 9)
"""Rows of images after which a process is killed: before the first checkpoint, amid a step, amid a
validation, at once after a resume, late. The kill comes from outside, so it lands where it may."""


def test_five_kills_change_no_bit_of_the_adapter(tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert finish_with_kills(whole, ()) == [0]
    began = finish_with_kills(killed, KILLS)
    assert len(began) == len(KILLS) + 1
    assert began == sorted(began)
    assert 0 < began[-1] < 20  # it did resume
    for name in ("adapter_model.safetensors", "training.json"):
        file = Path("adapter", name)
        assert (whole / file).read_bytes() == (killed / file).read_bytes(), name
