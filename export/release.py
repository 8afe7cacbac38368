"""From a pair that passed the gate to a release directory that says what it is.

    python -m export release MODEL PAIR OUT --gate DIR --data DIR

Reads downward: the gate's verdict, calibrate on the validation split, fit which pictures are
refused, measure on the test split, card, manifest. Written aside and renamed: there is no half
release. An attempt that was stopped goes on where it was.
"""

import json
import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from appliance.core.calibration import calibrate, decision_figures
from appliance.core.caption import is_caption
from appliance.release.manifest import (
    ENCODER_REPORT,
    MANIFEST,
    MOST_PHRASES,
    PHRASES,
    VISION_ENCODERS,
    hash_file,
    read_release,
    verify,
    write_manifest,
)
from export.aside import refuse_existing
from export.card import Card
from export.draft import draft_manifest, write_draft
from export.errors import ExportError
from export.familiarity import fit_gate
from export.gate import Verdict, read_verdict, refuse_other_parent
from export.model_card import MODEL_CARD, model_card
from export.pair import Pair, read_pair
from training.datasets import Split
from training.evaluation.answered import AnsweredImage, read_evaluation
from training.evaluation.figures import evaluate
from training.evaluation.run import run_evaluation
from training.evaluation.subject import read_subject
from training.labels import label_set


def write_release(
    model: Path,
    pair_folder: Path,
    gate: Path,
    out: Path,
    data: Path,
    card: Card,
    version: str,
    threads: int,
    say: Callable[[str], None],
    *,
    encoder: Path | None = None,
    reads_with: str = "ggml",
    override: str | None = None,
) -> Path:
    """`reads_with` names the vision encoder that is measured and then used. `override` is the
    reason for releasing a pair that the gate refuses; the release carries it.

    Raises: ExportError; DatasetError, EvaluationError. Then nothing is at `out`.
    """
    refuse_existing(out)
    pair, verdict = read_pair(pair_folder), read_verdict(gate)
    refuse_other_parent(model, pair)
    _refuse_unproved(gate, pair, verdict, override)
    labels = label_set()
    aside, answers = out.with_name(out.name + ".partial"), out.with_name(out.name + ".answers")
    manifest = draft_manifest(model, pair, card, version)
    write_draft(aside, pair, manifest)
    if encoder is not None:
        _take_encoder(encoder, reads_with, pair, aside, manifest)
    _refuse_lacking(reads_with, manifest)
    manifest["vision_encoder"] = reads_with
    write_manifest(aside, manifest)

    def answered(split: Split) -> tuple[AnsweredImage, ...]:
        subject = read_subject(aside, None, threads)
        run_evaluation(subject, data, split, None, answers / split, say)
        return read_evaluation(answers / split).images

    say("calibrating on the validation split")
    images = answered("val")
    calibration = calibrate(labels, [image.label for image in images], images)
    _write_phrases(images, aside / PHRASES)
    _declare(manifest, aside / PHRASES)
    manifest["gate"] = fit_gate(aside, data, answers / "gate", threads, say)
    say("measuring on the test split")
    images = answered("test")
    figures = evaluate(labels, images)
    truth = [image.label for image in images]
    groups = [image.group for image in images]
    figures["decisions"] = decision_figures(labels, truth, groups, images, calibration)

    manifest["calibration"] = asdict(calibration)
    manifest["evaluation"] = {"split": "test", **figures}
    manifest["agreement"] = {
        "with": "transformers, float32",
        **asdict(verdict.agreement),
        "margins": {check.measure: check.margin for check in verdict.checks},
        "override": override if verdict.outside else None,
    }
    (aside / MODEL_CARD).write_text(model_card(manifest), encoding="utf-8")
    _declare(manifest, aside / MODEL_CARD)
    write_manifest(aside, manifest)
    verify(read_release(aside))
    for file in aside.iterdir():
        if file.name not in (MANIFEST, *manifest["files"]):
            file.unlink()
    aside.rename(out)
    shutil.rmtree(answers)
    return out


def _refuse_unproved(gate: Path, pair: Pair, verdict: Verdict, override: str | None) -> None:
    files = {name: file.sha256 for name, file in pair.files.items()}
    if (verdict.weights_sha256, verdict.files) != (pair.source.weights_sha256, files):
        raise ExportError(
            f"{gate}: is the verdict on another pair than {pair.folder}; run `python -m export "
            "gate` on this one"
        )
    if verdict.outside and not override:
        reasons = "; ".join(map(str, verdict.outside))
        raise ExportError(
            f"{pair.folder}: outside its margins ({reasons}); see gate.html in {gate}, and mend "
            "the pair or give --override REASON"
        )


def _refuse_lacking(reads_with: str, manifest: dict[str, Any]) -> None:
    if VISION_ENCODERS[reads_with] not in manifest["files"]:
        raise ExportError(
            f"{reads_with}: is the vision encoder to measure with, but not there; give --encoder "
            "DIR, what `python -m export onnx` wrote"
        )


def _take_encoder(
    encoder: Path, reads_with: str, pair: Pair, folder: Path, manifest: dict[str, Any]
) -> None:
    """Copy what `python -m export onnx` wrote. Raises: ExportError when it is another model's."""
    try:
        said = json.loads((encoder / ENCODER_REPORT).read_text(encoding="utf-8"))
        of, names = said["model_sha256"], list(said["files"])
    except (OSError, ValueError, KeyError, TypeError) as exc:
        raise ExportError(
            f"{encoder / ENCODER_REPORT}: describes no encoder ({exc}); run `python -m export onnx`"
        ) from exc
    if of != pair.source.weights_sha256:
        raise ExportError(
            f"{encoder}: was written from other weights ({of[:12]}) than the pair "
            f"({pair.source.weights_sha256[:12]}); run `python -m export onnx` on the same model"
        )
    if reads_with != "ggml":
        names = [name for name in names if name.startswith(VISION_ENCODERS[reads_with])]
    for name in (*names, ENCODER_REPORT):
        shutil.copyfile(encoder / name, folder / name)
        _declare(manifest, folder / name)


def _write_phrases(images: Sequence[AnsweredImage], file: Path) -> None:
    """The captions written most often, from which the engine guesses how one goes on."""
    labels = label_set()
    written = Counter(image.text for image in images if is_caption(image.text, labels))
    lines = [text for text, _ in written.most_common(MOST_PHRASES)]
    file.write_text("".join(line + "\n" for line in lines), encoding="utf-8")


def _declare(manifest: dict[str, Any], file: Path) -> None:
    manifest["files"][file.name] = {"sha256": hash_file(file), "size_bytes": file.stat().st_size}
