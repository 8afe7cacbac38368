"""Treatment scenarios: a finding's words, a treatment, an image by reference, and the right answer.

`data/treatment_scenarios.tsv` was written by this project. A scenario's answer is what its source
says of the image's true label: the sample guideline, or a document that a clinic may have and this
project does not carry. On the latter nothing is ever chosen: all are of the held third. Severity is
of the harm when that is not kept. Scenarios of a pair have the same words and different images and
answers: no rule over words can pass both. An image is the n-th of its label in the test split of
the real data sets, in an order drawn by SEED. `cost` is S4's: what a missed error (3, 2, 1.5 by
severity) or a false alarm (2) takes off.
"""

import csv
import random
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from appliance.core.labels import Domain
from appliance.core.treatment import Severity
from training.evaluation.questions import Question

FILE = Path(__file__).parent / "data" / "treatment_scenarios.tsv"
SEED = 11
SAMPLE = "Sample Guideline for Demonstration"
Third = Literal["first", "second", "held"]


@dataclass(frozen=True)
class Scenario:
    id: str
    pair: str
    """Empty for one that stands alone."""
    third: Third
    """The operating point is chosen on the first two; figures are of the held one."""
    domain: Domain
    label: str
    """The image's true label."""
    image: int
    finding: str
    treatment: str
    answer: Literal["ERROR", "CORRECT"]
    severity: Severity
    cost: float
    source: str

    @property
    def document(self) -> str:
        return self.source.partition(",")[0]


def read_scenarios() -> list[Scenario]:
    with FILE.open(encoding="utf-8", newline="") as file:
        rows: list[dict[str, Any]] = list(
            csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
        )
    return [
        Scenario(**{**row, "image": int(row["image"]), "cost": float(row["cost"])}) for row in rows
    ]


def drawn_images(questions: Iterable[Question]) -> dict[tuple[str, int], Question]:
    """By label and number; `questions` are those of a whole test split."""
    by_label: dict[str, list[Question]] = defaultdict(list)
    for question in questions:
        by_label[question.label].append(question)
    drawn: dict[tuple[str, int], Question] = {}
    for label, found in sorted(by_label.items()):
        random.Random(f"{SEED}-{label}").shuffle(found)
        drawn |= {(label, number): question for number, question in enumerate(found)}
    return drawn
