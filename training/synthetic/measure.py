"""What drawn pictures are worth: S3's synthetic-caption pairs, labels, and copies of patients.

Every label of the test split is drawn from real captions of that split; the threshold of the pairs
is chosen on drawings from the validation split. Beside them stand the real pictures of the same
captions, as they are and at the size that the model draws. Intervals are 95 %, by drawing each
label's pictures again from themselves.
"""

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from appliance.core.atlas import Towers
from appliance.core.ports import Picture
from appliance.core.synthetic_mark import LEAST_SHARE, agreement
from appliance.release.atlas_heads import Heads, unit
from training.atlas.material import Floats
from training.atlas.measure import RESAMPLES, SCOPES
from training.labels import label_set
from training.synthetic.drawing import Painter, Wanted
from training.synthetic.material import Material
from training.synthetic.watermark import marked
from training.whole_file import write_whole

if TYPE_CHECKING:
    from training.efficientnet import EfficientNetLite0

AT_ONCE = 32
OTHERS = 20
"""Captions of other labels that each picture is held against."""
COPY_SIDE = 32
"""Of the pictures whose distances are measured, in pixels."""
NEAR = 50
"""Training pictures nearest to one, whose mean distance is what the nearest is compared with."""
CONVNET_SIDE = 128
SOURCES = ("drawn", "drawn and marked", "real at that size", "real")

Rows = NDArray[np.int64]
Pixels = NDArray[np.uint8]
Looked = dict[str, NDArray[Any]]
Figures = dict[str, Any]


@dataclass(frozen=True)
class Eyes:
    """What looks at a picture: the atlas's image side, the convnet, the training pictures."""

    towers: Towers
    heads: Heads
    convnet: "EfficientNetLite0"
    training: Floats
    """As `copy_rows` makes them."""

    def look(self, pictures: Sequence[Pixels]) -> Looked:
        """Of each picture, (side, side, 3): `vectors` in the atlas's space, the `labels` that the
        convnet reads, `nearness` to the training pictures, `agreement` with the mark."""
        from training.tower import classify

        size = self.towers.identity.image_size
        seen = [squared(each, size).tobytes() for each in pictures]
        features = [
            self.towers.picture_features(Picture(rgb, size, "", "memory", size, size, None))
            for rgb in seen
        ]
        squares = np.stack([squared(each, CONVNET_SIDE) for each in pictures])
        return {
            "vectors": self.heads.image.project(np.array(features, np.float32)),
            "labels": classify(self.convnet, squares, CONVNET_SIDE).argmax(1),
            "nearness": nearness(copy_rows(pictures), self.training),
            "agreement": np.array([agreement(rgb, size) for rgb in seen]),
        }


def measure(
    painter: Painter,
    eyes: Eyes,
    material: Material,
    captions: Floats,
    per_label: int,
    side: int,
    kept: Path,
    say: Callable[[str], None],
) -> Figures:
    """Figures of each of SOURCES. `captions`: every row's vector in the atlas's space; `side`: of a
    drawn picture. What was seen of the pictures is kept in the folder `kept`, so that a measurement
    that was stopped goes on; no picture is."""
    rows = np.concatenate([chosen(material, split, per_label) for split in ("val", "test")])
    kept.mkdir(parents=True, exist_ok=True)
    parts: dict[str, list[Looked]] = {source: [] for source in SOURCES}
    for start in range(0, len(rows), AT_ONCE):
        part = rows[start : start + AT_ONCE]
        file = kept / f"{start:05}.npz"
        if not file.is_file():
            _keep(file, _looked(painter, eyes, material, part, side))
        with np.load(file) as arrays:
            for source in SOURCES:
                names = [name for name in arrays if name.startswith(f"{source}/")]
                parts[source].append({name.split("/")[1]: arrays[name] for name in names})
        say(f"looked at {start + len(part)} of {len(rows)} pictures")
    looked = {
        source: {name: np.concatenate([each[name] for each in found]) for name in found[0]}
        for source, found in parts.items()
    }
    return {source: figures(found, captions, material, rows) for source, found in looked.items()}


def chosen(material: Material, split: str, per_label: int) -> Rows:
    """At most so many rows of each label of a split, the same in every run."""
    order = np.random.default_rng(0).permutation(material.split(split))
    labels = material.labels[order]
    return np.sort(np.concatenate([order[labels == one][:per_label] for one in np.unique(labels)]))


def figures(looked: Looked, captions: Floats, material: Material, rows: Rows) -> Figures:
    """Of the test split's pictures among `rows`; `looked` has one entry for each of `rows`."""
    test = np.isin(rows, material.split("test"))
    truth = material.labels[rows][test]
    right = (looked["labels"][test] == truth).astype(np.float64)
    near = looked["nearness"][test]
    return {
        "pictures": len(truth),
        "labels": len(np.unique(truth)),
        "pairs": {
            scope: pairs(looked["vectors"], captions, material, rows, scope) for scope in SCOPES
        },
        "label_read": label_mean(right, truth, None),
        "nearness": {
            "median": float(np.median(near)),
            "lowest_in_100": float(np.quantile(near, 0.01)),
            "least": float(near.min()),
        },
        "mark_read": float((looked["agreement"] >= LEAST_SHARE).mean()),
        "mark_agreement": [float(looked["agreement"].min()), float(looked["agreement"].max())],
    }


def pairs(
    vectors: Floats, captions: Floats, material: Material, rows: Rows, scope: str
) -> Figures | None:
    """Each picture with the caption it was drawn from, and with captions of other labels: mean
    cosines, and how often a threshold tells the two apart, as MIRAGE reports them
    (arXiv:2605.04772, section 3); scopes as in `training.atlas.measure`. None where no picture has
    another label in scope."""
    own: dict[str, Floats] = {}
    other: dict[str, Floats] = {}
    truth: dict[str, Rows] = {}
    share: dict[str, NDArray[np.int64] | None] = {}
    for split in ("val", "test"):
        inside = material.split(split)
        against = {
            place: _others(material, inside, row, scope)
            for place, row in enumerate(rows)
            if row in inside
        }
        places = [place for place, others in against.items() if len(others)]
        if not places:
            return None
        seen = vectors[places]
        own[split] = (seen * captions[rows[places]]).sum(1)
        other[split] = np.array(
            [vectors[place] @ captions[against[place]].T for place in places], np.float32
        )
        truth[split] = material.labels[rows[places]]
        counts = np.bincount(material.labels[inside], minlength=len(label_set()))
        share[split] = counts if scope == SCOPES[0] else None

    def told(split: str, threshold: float) -> NDArray[np.float64]:
        right: NDArray[np.float64] = (own[split] >= threshold) + (other[split] < threshold).mean(1)
        return right / 2

    def mean(values: NDArray[Any], split: str) -> float:
        return float(_by_label(values, truth[split], share[split])[0])

    thresholds = np.linspace(-1, 1, 401)
    threshold = float(max(thresholds, key=lambda each: mean(told("val", each), "val")))
    return {
        "similar": mean(own["test"], "test"),
        "dissimilar": mean(other["test"].mean(1), "test"),
        "threshold": threshold,
        "accuracy": label_mean(told("test", threshold), truth["test"], share["test"]),
    }


def label_mean(values: NDArray[Any], truth: Rows, share: NDArray[np.int64] | None) -> Figures:
    """Mean over labels, each equally or by its `share`, with its interval."""
    value, groups, weights = _by_label(values, truth, share)
    rng = np.random.default_rng(0)
    drawn = sum(
        weight * group[rng.integers(len(group), size=(RESAMPLES, len(group)))].mean(1)
        for weight, group in zip(weights, groups, strict=True)
    )
    low, high = np.quantile(drawn, [0.025, 0.975])
    return {"value": float(value), "interval": [float(low), float(high)]}


def nearness(rows: Floats, training: Floats) -> NDArray[np.float64]:
    """Of each row: the distance to the nearest training picture over the mean distance to the NEAR
    nearest. 1 where none stands out, 0 for a copy (after Carlini et al. 2023, arXiv:2301.13188,
    section 5.1)."""
    squares = (training**2).sum(1) - 2 * rows @ training.T + (rows**2).sum(1)[:, None]
    nearest = np.sqrt(np.partition(squares, NEAR, axis=1)[:, :NEAR].clip(min=0))
    found: NDArray[np.float64] = nearest.min(1) / np.maximum(nearest.mean(1), 1e-12)
    return found


def copy_rows(pictures: Sequence[Pixels]) -> Floats:
    """(pictures, values): reduced, without its own brightness and contrast, so that a blurred or
    pale picture is not near to all."""
    rows = np.stack([squared(each, COPY_SIDE).ravel() for each in pictures]).astype(np.float32)
    return unit(rows - rows.mean(1, keepdims=True))


def squared(picture: Pixels, side: int) -> Pixels:
    """(side, side, 3), as at the clinic."""
    from PIL import Image

    square = Image.fromarray(picture).resize((side, side), Image.Resampling.BILINEAR)
    return np.asarray(square)


def table(found: Figures) -> list[str]:
    """The figures as lines for a person."""
    lines = []
    for source, each in found.items():
        lines.append(f"{source}: {each['pictures']} test pictures of {each['labels']} labels")
        for scope, told in each["pairs"].items():
            if told:
                lines.append(
                    f"  pairs ({scope}): {told['similar']:.2f} and {told['dissimilar']:.2f}, told "
                    f"apart {_shown(told['accuracy'])}"
                )
        near = each["nearness"]
        lines.append(f"  label read, mean over labels: {_shown(each['label_read'])}")
        lines.append(
            f"  nearest training picture over the {NEAR} nearest: median {near['median']:.3f}, "
            f"lowest in 100 {near['lowest_in_100']:.3f}, least {near['least']:.3f}"
        )
        least, greatest = each["mark_agreement"]
        lines.append(f"  mark read {each['mark_read']:.3f} (signs {least:.2f} to {greatest:.2f})")
    return lines


def _looked(painter: Painter, eyes: Eyes, material: Material, rows: Rows, side: int) -> Looked:
    names = label_set().names
    wanted = [Wanted(names[material.labels[row]], material.texts[row], int(row)) for row in rows]
    drawn = list(painter.paint(wanted))
    real = [material.pixels[material.places[row]] for row in rows]
    pictures = (
        drawn,
        [marked(each) for each in drawn],
        [squared(each, side) for each in real],
        real,
    )
    return {
        f"{source}/{name}": found
        for source, some in zip(SOURCES, pictures, strict=True)
        for name, found in eyes.look(some).items()
    }


def _keep(file: Path, arrays: Looked) -> None:
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays)
    write_whole(file, buffer.getvalue())


def _others(material: Material, inside: Rows, row: int, scope: str) -> Rows:
    """OTHERS rows of `inside` with another label than `row`; none where there is no such label."""
    rng = np.random.default_rng(row)
    label, domain = material.labels[row], material.rows[row].example.domain
    rows = inside[material.labels[inside] != label]
    if scope == SCOPES[2]:
        rows = rows[[material.rows[one].example.domain == domain for one in rows]]
    if not len(rows) or scope == SCOPES[0]:
        return rng.choice(rows, OTHERS) if len(rows) else rows
    labels = rng.choice(np.unique(material.labels[rows]), OTHERS)
    return np.array([rng.choice(rows[material.labels[rows] == one]) for one in labels])


def _by_label(
    values: NDArray[Any], truth: Rows, share: NDArray[np.int64] | None
) -> tuple[float, list[NDArray[Any]], NDArray[np.float64]]:
    """The mean, the values of each label, the weight of each."""
    labels = np.unique(truth)
    groups = [values[truth == label] for label in labels]
    weights = np.ones(len(labels)) if share is None else share[labels].astype(np.float64)
    weights /= weights.sum()
    return float(weights @ [group.mean() for group in groups]), groups, weights


def _shown(found: Figures) -> str:
    low, high = found["interval"]
    return f"{found['value']:.3f} ({low:.3f}-{high:.3f})"
