"""Pictures and captions of three labels, in spaces of their own; two pictures a group."""

import numpy as np

from appliance.core.caption import Caption
from training.atlas.material import AtlasMaterial
from training.datasets import Example
from training.labels import label_set
from training.qlora.material import CaptionedImage

LABELS = ("melanoma", "cataract", "normal chest")
PER_SPLIT = {"train": 60, "val": 20, "test": 30}


def made_up_material() -> AtlasMaterial:
    """Pictures and captions around a centre a label, each in a space of its own."""
    rng = np.random.default_rng(0)
    labels = label_set()
    centres = {label: (rng.normal(size=12), rng.normal(size=9)) for label in LABELS}
    rows: list[CaptionedImage] = []
    pictures, captions = [], []
    for split, count in PER_SPLIT.items():
        for number in range(count):
            label = LABELS[number % len(LABELS)]
            domain = labels.domain_of(label)
            place = len(rows)
            example = Example("ham10000", place, label, domain, f"{split} {number // 2}", split)  # type: ignore[arg-type]
            caption = Caption(label, "a picture", "a place", "a finding", "a meaning")
            rows.append(CaptionedImage(example, caption, split))  # type: ignore[arg-type]
            pictures.append(centres[label][0] + rng.normal(size=12) * 0.7)
            captions.append(centres[label][1] + rng.normal(size=9) * 0.5)
    return AtlasMaterial(
        rows=rows,
        labels=np.array([labels.names.index(row.caption.label) for row in rows]),
        domains=np.array([row.example.domain for row in rows]),
        splits=np.array([row.split for row in rows]),
        pictures=np.array(pictures, np.float32),
        captions=np.array(captions, np.float32),
    )
