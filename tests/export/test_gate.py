"""Claims about the gate: it lets through what agrees, refuses what does not, and shows why."""

import json
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from click.testing import CliRunner

from export.__main__ import main
from export.agreement import agreement, drift, similarity, worst
from export.errors import ExportError
from export.gate import PAGE, read_verdict
from export.margins import LEAST, read_margins
from export.pair import ProjectorKind, TextKind, write_pair
from training.evaluation.answered import AnsweredImage, read_evaluation
from training.labels import label_set

CopyModel = Callable[..., Path]
LABELS = label_set()


def test_a_pair_of_its_parent_is_within_the_margins(gate: Path) -> None:
    verdict = read_verdict(gate)
    # So unsure a model writes another caption when its likeliest label is given (see `passed`).
    assert {check.measure for check in verdict.outside} <= {"caption_similarity"}
    assert {check.measure for check in verdict.checks} == {*LEAST, "drift", "embedding_error"}
    assert verdict.agreement.same_label == 1
    assert 0 < verdict.agreement.embedding_error < 0.01


def test_the_page_shows_every_margin_and_the_worst_pictures_and_needs_no_network(
    gate: Path,
) -> None:
    page = (gate / PAGE).read_text(encoding="utf-8")
    for check in read_verdict(gate).checks:
        assert check.measure.replace("_", " ") in page
    assert page.count("data:image/jpeg;base64,") == min(12, read_verdict(gate).agreement.images)
    assert "http" not in page.replace("http-equiv", "")
    assert "holds patient images" in page


def test_asked_again_it_asks_the_models_nothing(
    model: Path, pair: Path, gate: Path, data: Path
) -> None:
    asked = ["gate", str(model), str(pair), str(gate), "--data", str(data), "--per-domain", "99"]
    before = (gate / "gate.json").read_bytes()
    found = CliRunner().invoke(main, [*asked, "--threads", "1"])
    assert found.exit_code == len(read_verdict(gate).outside)
    assert "to ask about" not in found.stderr
    assert (gate / "gate.json").read_bytes() == before


def test_a_pair_that_says_something_else_is_refused(
    copy_model: CopyModel, data: Path, tmp_path: Path
) -> None:
    """llama.cpp takes the norm's epsilon from the file: with another there, the pair is another
    model than the weights say."""

    def other_epsilon(config: dict[str, Any]) -> None:
        config["text_config"]["rms_norm_eps"] = 30.0

    folder = copy_model(other_epsilon)
    pair = write_pair(folder, tmp_path / "pair", "tiny", lambda line: None).folder
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config["text_config"]["rms_norm_eps"] = 1e-6
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    out = tmp_path / "gate"
    asked = ["gate", str(folder), str(pair), str(out), "--data", str(data), "--per-domain", "4"]
    found = CliRunner().invoke(main, [*asked, "--threads", "1"])
    assert found.exit_code == 1
    assert "outside its margins; see gate.html" in found.stderr
    verdict = read_verdict(out)
    assert {check.measure for check in verdict.outside} & {"drift", "caption_similarity"}
    assert "Refused" in (out / PAGE).read_text(encoding="utf-8")


def test_a_pair_whose_tokens_are_other_ones_is_refused(
    copy_model: CopyModel, pair: Path, data: Path, tmp_path: Path
) -> None:
    folder = copy_model()
    file = folder / "tokenizer.json"
    described = json.loads(file.read_text(encoding="utf-8"))
    described["added_tokens"] = []
    file.write_text(json.dumps(described), encoding="utf-8")
    asked = ["gate", str(folder), str(pair), str(tmp_path / "gate"), "--data", str(data)]
    found = CliRunner().invoke(main, asked)
    assert found.exit_code == 1
    assert "tokens differ" in found.stderr


def test_every_kind_has_its_margins_and_fewer_bits_never_stricter_ones() -> None:
    margins = read_margins()
    assert tuple(margins.text) == get_args(TextKind)
    assert tuple(margins.projector) == get_args(ProjectorKind)
    rows = list(margins.text.values())
    for finer, coarser in pairwise(rows):
        assert all(finer[name] >= coarser[name] for name in LEAST)
        assert finer["drift"] <= coarser["drift"]


def images_of(gate: Path) -> list[AnsweredImage]:
    return list(read_evaluation(gate / "parent").images)


def test_equal_answers_do_not_drift_and_opposite_ones_drift_by_one_bit(gate: Path) -> None:
    image = images_of(gate)[0]
    sure = [replace(image, label_scores=tuple(row)) for row in np.log(np.eye(20)[:2] + 1e-300)]
    assert drift([image], [image]) == pytest.approx([0], abs=1e-12)
    assert drift(sure[:1], sure[1:]) == pytest.approx([1], abs=1e-6)


def test_the_worst_come_first_another_label_before_a_large_drift(gate: Path) -> None:
    one, two, three = images_of(gate)[:3]
    other = next(name for name in LABELS.names if name != two.found)
    moved = tuple(score - place / 3 for place, score in enumerate(three.label_scores))
    exported = [one, replace(two, found=other), replace(three, label_scores=moved)]
    found = worst([one, two, three], exported, 2)
    assert [each.parent.key for each in found] == [two.key, three.key]


def test_a_caption_that_is_no_json_counts(gate: Path) -> None:
    images = images_of(gate)[:4]
    spoiled = [*images[:3], replace(images[3], text="{")]
    found = agreement(LABELS, images, spoiled, [0.0])
    assert (found.json_valid, found.same_text, found.same_label) == (0.75, 0.75, 1.0)


def test_similarity_counts_words_in_order() -> None:
    assert similarity("a b c d", "a b c d") == 1
    assert similarity("a b c d", "a b x d") == 0.75
    assert similarity("a", "b") == 0


def test_a_verdict_that_is_damaged_names_what_to_do(gate: Path, tmp_path: Path) -> None:
    (tmp_path / "gate.json").write_bytes((gate / "gate.json").read_bytes()[:-40])
    with pytest.raises(ExportError, match="run `python -m export gate` first"):
        read_verdict(tmp_path)
