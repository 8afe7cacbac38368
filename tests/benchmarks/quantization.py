"""What quantizing costs: each kind of pair beside its parent in transformers, on real test images.

    python -m tests.benchmarks.quantization MODEL --data DIR --captions captions.jsonl \\
        --folder DIR [--per-domain 167] [--images 300] [--threads 1]

Writes the F16 pair of MODEL, an importance matrix and every quantized pair into --folder, asks
parent and pairs about the same images, and prints one table. A run that was stopped goes on.
"""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from appliance.core.calibration import wilson
from export.agreement import drift
from export.card import DEMONSTRATION, read_card
from export.draft import draft_manifest, write_draft
from export.importance import write_importance
from export.pair import Pair, ProjectorKind, TextKind, read_pair, write_pair
from export.quantize import BLIND, quantize
from training.evaluation.answered import AnsweredImage, read_evaluation
from training.evaluation.run import run_evaluation
from training.evaluation.subject import read_subject

BARS = {"F16": 0.995, "Q8_0": 0.99, "Q4_K_M": 0.97}
"""Least label agreement, fixed beforehand."""
KINDS: tuple[tuple[TextKind, ProjectorKind], ...] = (
    ("F16", "F16"),
    ("F16", "Q8_0"),
    ("Q8_0", "F16"),
    ("Q8_0", "Q8_0"),
    ("Q6_K", "F16"),
    ("Q5_K_M", "F16"),
    ("Q4_K_M", "F16"),
    ("Q4_K_M", "Q8_0"),
)


@dataclass(frozen=True)
class Row:
    name: str
    pair: Pair
    answers: tuple[AnsweredImage, ...]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--captions", type=Path, required=True)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--per-domain", type=int, default=167)
    parser.add_argument("--images", type=int, default=300)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    parent = answers_of(options.model, "parent", options)
    report(parent, [row_of(name, pair, options) for name, pair in pairs(options)])


def pairs(options: argparse.Namespace) -> Iterator[tuple[str, Pair]]:
    """Every pair by name, written unless an earlier run did."""
    whole, importance = options.folder / "F16", options.folder / "importance.gguf"
    if not whole.exists():
        write_pair(options.model, whole, "benchmark", print)
    if not importance.exists():
        write_importance(
            options.model, importance, options.data, options.captions, options.images, print
        )
    for text, projector in KINDS:
        for matters in (None,) if text in BLIND else (None, importance):
            name = f"{text} {projector}" + (" importance" if matters else "")
            out = options.folder / name.replace(" ", "-")
            if not out.exists():
                quantize(whole, out, text, projector, matters, options.threads, print)
            yield name, read_pair(out)


def row_of(name: str, pair: Pair, options: argparse.Namespace) -> Row:
    draft = options.folder / "drafts" / pair.folder.name
    card = read_card(DEMONSTRATION)
    write_draft(draft, pair, draft_manifest(options.model, pair, card, "draft"))
    return Row(name, pair, answers_of(draft, pair.folder.name, options))


def answers_of(model: Path, name: str, options: argparse.Namespace) -> tuple[AnsweredImage, ...]:
    print(f"asking {name}", flush=True)
    subject = read_subject(model, None, options.threads, full_precision=True)
    out = options.folder / "answers" / name
    run_evaluation(subject, options.data, "test", options.per_domain, out, print)
    return read_evaluation(out).images


def report(parent: tuple[AnsweredImage, ...], rows: list[Row]) -> None:
    print(f"{len(parent)} images; drift is Jensen-Shannon, base 2, of label probabilities")
    print("text, projector           MB text  proj.  same label   95 %          drift mean     p95")
    for row in rows:
        same = sum(a.found == b.found for a, b in zip(parent, row.answers, strict=True))
        text = np.mean([a.text == b.text for a, b in zip(parent, row.answers, strict=True)])
        low, high = wilson(same, len(parent))
        found = drift(parent, row.answers)
        bar = BARS.get(row.pair.source.text)
        sizes = [file.size_bytes / 1e6 for file in row.pair.files.values()]
        print(
            f"{row.name:<25} {sizes[0]:8.2f} {sizes[1]:6.2f}  {same / len(parent):10.4f}  "
            f"{low:.3f}-{high:.3f}  {found.mean():12.3e} {np.quantile(found, 0.95):10.3e}  "
            f"same text {text:.3f}"
            + (f"  bar {bar}: {'met' if same / len(parent) >= bar else 'MISSED'}" if bar else "")
        )


if __name__ == "__main__":
    main()
