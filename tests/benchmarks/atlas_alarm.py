"""What the alarm is worth: how often a caption's label is wrong where the nearest cases disagree.

    python -m tests.benchmarks.atlas_alarm DATA CAPTIONS ANSWERS HEADS RUN

ANSWERS is answers.jsonl of an evaluation of the test split; HEADS and RUN are what `python -m
training atlas heads` wrote. Cases: the training split, and at most 100 of a label.
"""

import json
import sys
from pathlib import Path

import numpy as np

from appliance.core.atlas import NEIGHBOURS, AtlasCase, Neighbour, Source, inconsistency
from appliance.core.calibration import wilson
from appliance.core.labels import DOMAINS
from appliance.release.atlas_heads import read_heads
from appliance.release.shelf import BUILT_IN
from appliance.wiring import open_towers
from training.atlas.material import AtlasMaterial, gather_atlas
from training.atlas.measure import reference_places, space_of

NOBODY = Source("", "", "", "")


def main() -> None:
    data, captions, answers, heads, run = map(Path, sys.argv[1:])
    with open_towers(BUILT_IN, 1) as towers:
        material = gather_atlas(towers, data, captions, run, print)
    space = space_of(read_heads(heads.read_bytes()), material)
    found = {}
    for line in answers.read_text(encoding="utf-8").splitlines()[1:]:
        row = json.loads(line)
        found[row["dataset"], row["row"]] = row["found"]
    queries = material.places("test")
    for per_label in (None, 100):
        references = reference_places(material, per_label)
        scores = space.pictures[queries] @ space.cases[references].T
        nearest = np.argpartition(-scores, NEIGHBOURS, axis=1)[:, :NEIGHBOURS]
        print(f"{len(references)} cases")
        for domain in DOMAINS:
            counts = {False: [0, 0], True: [0, 0]}
            for place, near in zip(queries, nearest, strict=True):
                row = material.rows[place]
                if row.example.domain != domain:
                    continue
                said = found[row.example.dataset, row.example.row]
                warning = inconsistency(said, [_case(material, references[n]) for n in near])
                counts[warning is not None][0] += said != row.caption.label
                counts[warning is not None][1] += 1
            for is_told, (wrong, total) in counts.items():
                low, high = wilson(wrong, total)
                state = "alarm" if is_told else "quiet"
                print(
                    f"  {domain} {state}: wrong {wrong}/{total} = {wrong / total:.3f} "
                    f"({low:.3f}-{high:.3f})"
                )


def _case(material: AtlasMaterial, place: int) -> Neighbour:
    label = material.rows[place].caption.label
    return Neighbour(AtlasCase("", label, "skin", "", "", NOBODY, "", None), 1.0)


if __name__ == "__main__":
    main()
