"""The gate: a pair that is too far from the model it was made of is not released.

    python -m export gate MODEL PAIR OUT --data DIR

Asks both the same questions, measures how far apart they are, and holds that against margins that
were fixed beforehand. Resumable: answers are kept as they come.
"""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from appliance.release.manifest import read_release
from export.agreement import (
    Agreement,
    agreement,
    check_prompt_tokens,
    embedding_errors,
    worst,
)
from export.card import Card
from export.draft import draft_manifest, write_draft
from export.errors import ExportError
from export.gate_page import gate_page
from export.margins import Check, checks_of
from export.pair import Pair, read_pair
from training.checkpoint import weights_hash
from training.datasets import Split
from training.evaluation.answered import read_evaluation
from training.evaluation.questions import read_questions
from training.evaluation.run import run_evaluation
from training.evaluation.subject import read_subject
from training.labels import label_set
from training.whole_file import write_whole

RESULT = "gate.json"
PAGE = "gate.html"
SPLIT: Split = "test"
EMBEDDED_PER_DOMAIN = 8
SHOWN = 12
FORMAT = 1


@dataclass(frozen=True)
class Verdict:
    """What gate.json says."""

    weights_sha256: str
    """Of the parent."""
    files: dict[str, str]
    """sha256 of the pair's files."""
    agreement: Agreement
    checks: tuple[Check, ...]

    @property
    def outside(self) -> list[Check]:
        return [check for check in self.checks if not check.passes]


def run_gate(
    model: Path,
    pair_folder: Path,
    out: Path,
    data: Path,
    card: Card,
    per_domain: int,
    threads: int,
    say: Callable[[str], None],
) -> Verdict:
    """Writes gate.json and gate.html to `out`, which may hold what an earlier call was asked.

    Raises: ExportError; DatasetError, EvaluationError.
    """
    labels = label_set()
    pair = read_pair(pair_folder)
    refuse_other_parent(model, pair)
    check_prompt_tokens(model, pair.model, labels)
    draft = out / "draft"
    write_draft(draft, pair, draft_manifest(model, pair, card, "draft"))
    for side, folder in (("parent", model), ("pair", draft)):
        say(f"asking the {side}")
        subject = read_subject(folder, None, threads, full_precision=True)
        run_evaluation(subject, data, SPLIT, per_domain, out / side, say)
    say("comparing soft tokens")
    questions = read_questions(data, SPLIT, EMBEDDED_PER_DOMAIN)
    errors = embedding_errors(model, read_release(draft), questions, threads)
    parent, exported = (read_evaluation(out / side).images for side in ("parent", "pair"))
    found = agreement(labels, parent, exported, errors)
    files = {name: file.sha256 for name, file in pair.files.items()}
    verdict = Verdict(pair.source.weights_sha256, files, found, checks_of(pair, found))
    write_whole(out / RESULT, json.dumps({"format": FORMAT, **asdict(verdict)}, indent=1) + "\n")
    page = gate_page(pair, verdict.checks, found, worst(parent, exported, SHOWN), data)
    write_whole(out / PAGE, page)
    return verdict


def read_verdict(folder: Path) -> Verdict:
    """Raises: ExportError when there is none."""
    path = folder / RESULT
    try:
        said: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if said["format"] != FORMAT:
            raise ValueError(f"format {said['format']!r}, expected {FORMAT}")
        return Verdict(
            said["weights_sha256"],
            said["files"],
            Agreement(**said["agreement"]),
            tuple(Check(**check) for check in said["checks"]),
        )
    except (OSError, ValueError, KeyError, TypeError) as exc:
        raise ExportError(
            f"{path}: no verdict can be read ({exc}); run `python -m export gate` first"
        ) from exc


def refuse_other_parent(model: Path, pair: Pair) -> None:
    """Raises: ExportError when the pair was not written from these weights."""
    if (found := weights_hash(model)) != pair.source.weights_sha256:
        raise ExportError(
            f"{pair.folder}: was written from other weights ({pair.source.weights_sha256[:12]}) "
            f"than those of {model} ({found[:12]}); write the pair again"
        )
