"""From the demonstration model's Hugging Face folder to a release directory that says what it is.

    python -m export release MODEL_FOLDER OUT --data DIR

Reads downward: write the pair, calibrate on the validation split, measure on the test split,
compare with the parent model, write the manifest. Written aside and renamed: there is no half
release.
"""

import json
import shutil
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from appliance.core.decision import Calibration
from appliance.core.labels import DOMAINS
from appliance.core.prompt import PROMPT_VERSION
from appliance.release.manifest import (
    FORMAT,
    MANIFEST,
    MODEL,
    PROJECTOR,
    hash_file,
    read_release,
    verify,
)
from appliance.wiring import open_captioner
from export.agreement import agreement, as_manifest, check_prompt_tokens
from export.checkpoint import read_checkpoint
from export.errors import ExportError
from export.merge import merged_from
from export.text_gguf import write_text_gguf
from export.vision_gguf import write_vision_gguf
from training.calibrate import calibrate, decision_figures
from training.datasets import FILES
from training.evaluation.answered import answered_image
from training.evaluation.asking import Answer, ask_model, ask_release, with_progress
from training.evaluation.figures import evaluate
from training.evaluation.questions import Question, read_questions
from training.labels import label_set

LEAST_SAME_LABEL = 0.98
"""Fixed beforehand: a pair that agrees on fewer labels is not released."""
COMPARED_PER_DOMAIN = 67

INTENDED_USE = (
    "Demonstration of the software and research. Not a medical device; not for clinical use."
)
LICENCES = [
    "Weights: trained in this project from nothing, on the data named here; non-commercial, since "
    "HAM10000 is CC BY-NC 4.0 and ODIR has no open licence",
    "The vision tower was taught by an EfficientNet-lite0 with ImageNet weights (Apache-2.0), "
    "none of which are in it",
]


def write_release(
    model: Path, out: Path, data: Path, version: str, threads: int, say: Callable[[str], None]
) -> Path:
    """Raises: ExportError; then nothing is at `out`."""
    if out.exists():
        raise ExportError(f"there is something at {out} already; choose another folder")
    labels = label_set()
    checkpoint = read_checkpoint(model)
    aside = out.with_name(out.name + ".partial")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    name = "demonstration"
    say("writing the GGUF pair")
    write_text_gguf(checkpoint, aside / MODEL, name)
    write_vision_gguf(checkpoint, aside / PROJECTOR, name)
    check_prompt_tokens(model, aside / MODEL, labels)

    manifest: dict[str, Any] = {
        "format": FORMAT,
        "name": name,
        "version": version,
        "demonstration": True,
        "intended_use": INTENDED_USE,
        "files": {
            file: {"sha256": hash_file(aside / file), "size_bytes": (aside / file).stat().st_size}
            for file in (MODEL, PROJECTOR)
        },
        "base_model": {
            "architecture": "Gemma3ForConditionalGeneration (Gemma 3 decoder, SigLIP tower)",
            "origin": "trained from nothing by `python -m training tower` and `captioner`",
        },
        "adapter": merged_from(model),
        "data": [{"name": name, "terms": terms} for name, terms in FILES.items()],
        "image_size": checkpoint.vision["image_size"],
        "prompt_version": PROMPT_VERSION,
        "labels": [asdict(label) for label in labels],
        "calibration": asdict(Calibration(1.0, 0.0, dict.fromkeys(DOMAINS, 0.0))),
        "evaluation": None,
        "agreement": None,
        "licences": LICENCES,
    }
    _write_manifest(aside, manifest)

    with open_captioner(read_release(aside), threads) as captioner:

        def ask(questions: list[Question]) -> list[Answer]:
            return list(with_progress(ask_release(captioner, questions), len(questions), say))

        say("calibrating on the validation split")
        questions = read_questions(data, "val")
        truth = [question.label for question in questions]
        calibration = calibrate(labels, truth, ask(questions))
        say("measuring on the test split")
        questions = read_questions(data, "test")
        truth, answers = [question.label for question in questions], ask(questions)
        pairs = zip(questions, answers, strict=True)
        figures = evaluate(labels, [answered_image(labels, *pair) for pair in pairs])
        figures["decisions"] = decision_figures(labels, truth, answers, calibration)
        say("comparing with transformers")
        questions = read_questions(data, "test", COMPARED_PER_DOMAIN)
        found = agreement(list(ask_model(model, labels, questions)), ask(questions))
    manifest["calibration"] = asdict(calibration)
    manifest["evaluation"] = {"split": "test", **figures}
    manifest["agreement"] = as_manifest(found)
    _write_manifest(aside, manifest)
    if found.same_label < LEAST_SAME_LABEL:
        raise ExportError(
            f"the exported pair agrees with its parent on {found.same_label:.1%} of labels, "
            f"less than {LEAST_SAME_LABEL:.0%}: not released (see {aside})"
        )
    verify(read_release(aside))
    aside.rename(out)
    return out


def _write_manifest(folder: Path, manifest: dict[str, Any]) -> None:
    text = json.dumps(manifest, indent=1, ensure_ascii=False) + "\n"
    (folder / MANIFEST).write_text(text, encoding="utf-8")
