"""captions.jsonl of the measuring teacher: every image, in the split its data set puts it in."""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from training.datasets import DatasetError, Example, read_examples
from training.labels import label_row
from training.measured.caption import caption_of, evidence, stated
from training.measured.finding import LEVELS, Level
from training.measured.frame import Pixels
from training.measured.measurement import INSTRUMENTS, measured_findings
from training.measured.sample import squares

REPORT_EVERY = 2000


def write_captions(data: Path, file: Path, say: Callable[[str], None]) -> Path:
    """One line an image: dataset, row, split, caption, the evidence of its findings, and the level
    of every measure, stated or not.

    Raises: DatasetError.
    """
    examples, _ = read_examples(data)
    file.parent.mkdir(parents=True, exist_ok=True)
    aside = file.with_suffix(".partial")
    with get_context("spawn").Pool() as pool, aside.open("w", encoding="utf-8") as out:
        pairs = zip(examples, squares(data, examples), strict=True)
        for count, line in enumerate(pool.imap(caption_line, pairs, chunksize=64), 1):
            out.write(line + "\n")
            if count % REPORT_EVERY == 0:
                say(f"{count} of {len(examples)} images")
    aside.rename(file)
    return file


def read_levels(file: Path, examples: Sequence[Example]) -> NDArray[np.int64]:
    """Level of each measure of each example, (examples, measures of all domains): 0 low, 1 middle,
    2 high, -1 where it is another domain's measure.

    Raises: DatasetError when the file lacks an example or its levels.
    """
    names = [measure.name for each in INSTRUMENTS.values() for measure in each.measures]
    found: dict[tuple[str, int], dict[str, Level]] = {}
    for line in file.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        found[row["dataset"], row["row"]] = row.get("levels", {})
    levels = np.full((len(examples), len(names)), -1)
    for place, example in enumerate(examples):
        measured = found.get((example.dataset, example.row))
        if not measured:
            raise DatasetError(
                f"{file}: no levels of {example.dataset}, row {example.row}; write the file with "
                "`python -m training measured captions`"
            )
        for name, level in measured.items():
            levels[place, names.index(name)] = LEVELS.index(level)
    return levels


def caption_line(pair: tuple[Example, Pixels]) -> str:
    example, pixels = pair
    row = label_row(example.label)
    findings = measured_findings(example.domain, pixels)
    return json.dumps(
        {
            "dataset": example.dataset,
            "row": example.row,
            "split": example.split,
            "caption": asdict(caption_of(row, findings)),
            "evidence": evidence(stated(findings)),
            "levels": {found.name: found.level for found in findings},
        }
    )
