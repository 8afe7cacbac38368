"""How long the atlas takes to find cases, beside Chroma's own query for the same.

    python -m tests.benchmarks.atlas_speed [CASES] [QUERIES]

CASES made-up cases (10,000) in the space of the built-in atlas, QUERIES queries (300) each way in
turn. Chroma's own query brings what it keeps of each case, as ours does. The picture is encoded
already; its features are given.
"""

import json
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np

from appliance.core.atlas import Source, TowerId, Vector, similar
from appliance.core.gate import Refusal
from appliance.core.ports import Picture
from appliance.edges.atlas import COLLECTION, AtlasFolder
from appliance.release.atlas_files import (
    BUILT_IN,
    CASES,
    PICTURES,
    VECTORS,
    StoredCase,
    read_atlas,
    write_atlas_manifest,
)
from appliance.release.atlas_heads import HEADS, read_heads, unit
from cpg_store.vectors import Vectors

K = 5
LABELS = 20
JPEG = bytes(range(256)) * 12


class KnownFeatures:
    """A tower whose features were computed before."""

    def __init__(self, identity: TowerId, features: int) -> None:
        self.identity = identity
        self.drawn = np.random.default_rng(1).normal(size=(1000, features)).tolist()
        self.turn = 0

    def picture_features(self, picture: Picture) -> Vector:
        found: list[float] = self.drawn[self.turn % len(self.drawn)]
        return found

    def text_features(self, text: str) -> Vector:
        raise NotImplementedError

    def refusal(self, picture: Picture, features: Vector) -> Refusal | None:
        return None


def main() -> None:
    cases, queries = (int(each) for each in [*sys.argv[1:], "10000", "300"][:2])
    with tempfile.TemporaryDirectory() as name:
        folder, home = Path(name, "atlas"), Path(name, "home")
        folder.mkdir()
        towers = write_made_up(folder, cases)
        started = time.perf_counter()
        atlas = AtlasFolder(read_atlas(folder), towers, home)
        print(f"index of {cases} cases made and opened in {time.perf_counter() - started:.1f} s")
        (place,) = home.iterdir()
        bare = Vectors.in_folder(place, COLLECTION)
        picture = Picture(b"", 0, "", "memory", 0, 0, None)

        def chroma() -> None:
            vector = atlas.of_features(towers.picture_features(picture))
            started = time.perf_counter()
            bare._collection.query(
                query_embeddings=[np.asarray(vector, np.float32)],
                n_results=K,
                include=["distances", "metadatas"],
            )
            spent["Chroma's own query"].append(time.perf_counter() - started)

        def ours() -> None:
            started = time.perf_counter()
            found = similar(atlas, picture, K)
            spent["atlas similar"].append(time.perf_counter() - started)
            assert len(found) == K and found[0].case.picture

        spent: dict[str, list[float]] = {"Chroma's own query": [], "atlas similar": []}
        ways: tuple[Callable[[], None], ...] = (chroma, ours)
        for turn in range(queries):
            towers.turn = turn
            for way in ways if turn % 2 else reversed(ways):
                way()
        for what, seconds in spent.items():
            low, middle, high = np.quantile(np.array(seconds[10:]) * 1e3, [0.05, 0.5, 0.95])
            print(f"{what}: median {middle:.2f} ms (5 to 95 %: {low:.2f} to {high:.2f})")
        medians = [float(np.median(seconds[10:])) for seconds in spent.values()]
        print(f"ratio {medians[1] / medians[0]:.2f}")
        bare.close()
        atlas.close()


def write_made_up(folder: Path, count: int) -> KnownFeatures:
    """Cases around a centre a label, each with a caption and a picture of a usual length."""
    rng = np.random.default_rng(0)
    built_in = read_atlas(BUILT_IN)
    heads = (BUILT_IN / HEADS).read_bytes()
    centres = rng.normal(size=(LABELS, built_in.dimensions))
    labels = rng.integers(LABELS, size=count)
    vectors = unit(
        (centres[labels] + rng.normal(size=(count, built_in.dimensions))).astype(np.float32)
    )
    np.save(folder / VECTORS, vectors)
    (folder / HEADS).write_bytes(heads)
    source = Source("made", "Made up", "nobody", "CC0")
    with (folder / CASES).open("w") as lines, (folder / PICTURES).open("wb") as pictures:
        for number, label in enumerate(labels):
            case = StoredCase(
                case_id=f"{number:016x}",
                label=f"label {label}",
                domain="skin",
                findings="symmetric shape and tone, edge fades into the skin, one even colour",
                caption="a label. dermoscopy, skin lesion. symmetric shape and tone, edge fades "
                "into the skin, one even colour. benign; routine follow-up.",
                source=source.name,
                row=str(number),
                sha256=f"{number:064x}",
                picture_start=number * len(JPEG),
                picture_bytes=len(JPEG),
            )
            lines.write(json.dumps(asdict(case)) + "\n")
            pictures.write(JPEG)
    names, counts = np.unique([f"label {label}" for label in labels], return_counts=True)
    said = {
        "name": "made up",
        "dimensions": built_in.dimensions,
        "cases_by_label": dict(zip(names.tolist(), counts.tolist(), strict=True)),
        "least_cosine": -1.0,
    }
    write_atlas_manifest(folder, built_in.tower, {source.name: source}, said)
    return KnownFeatures(built_in.tower, read_heads(heads).image.first.shape[0])


if __name__ == "__main__":
    main()
