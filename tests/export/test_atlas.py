"""`python -m export atlas`: which cases, which pictures, whose tower."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from appliance.release.atlas_files import PICTURES, VECTORS, read_atlas, read_cases, verify_atlas
from appliance.release.atlas_heads import write_heads
from appliance.release.shelf import BUILT_IN
from appliance.wiring import open_towers
from export.atlas import AtlasOrder, Carried, read_sources, write_atlas
from export.errors import ExportError
from tests.training.tiny import IN_TRAIN
from training.atlas.heads import train_heads
from training.atlas.material import gather_atlas
from training.atlas.recipe import DEMONSTRATION, read_heads_recipe
from training.labels import label_table
from training.measured.captions import write_captions


def quiet(line: str) -> None:
    """Nobody listens."""


@pytest.fixture(scope="module")
def captions(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_captions(data, tmp_path_factory.mktemp("captions") / "captions.jsonl", quiet)


@pytest.fixture(scope="module")
def atlas_run(data: Path, captions: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With features of every picture, and heads that have learnt next to nothing."""
    from dataclasses import replace

    run = tmp_path_factory.mktemp("run")
    with open_towers(BUILT_IN, 1) as towers:
        material = gather_atlas(towers, data, captions, run, quiet)
    recipe = replace(read_heads_recipe(DEMONSTRATION), steps=5, batch=16)
    write_heads(train_heads(recipe, material, quiet), run / "heads.npz")
    return run


@pytest.fixture
def write(data: Path, captions: Path, atlas_run: Path, tmp_path: Path):  # type: ignore[no-untyped-def]
    def written(
        pictures: Carried = "open",
        per_label: int | None = None,
        without: frozenset[str] = frozenset(),
    ) -> Path:
        order = AtlasOrder("tiny", pictures, per_label, without)
        heads = atlas_run / "heads.npz"
        place = tmp_path / f"atlas-{pictures}"
        return write_atlas(order, BUILT_IN, heads, data, captions, atlas_run, place, 1, quiet)

    return written


@pytest.mark.parametrize(
    ("pictures", "carried"),
    [
        ("none", set()),
        ("open", {"kermany_cxr"}),
        ("noncommercial", {"kermany_cxr", "ham10000"}),
    ],
)
def test_a_picture_is_carried_only_where_its_licence_lets_it(  # type: ignore[no-untyped-def]
    write, pictures: Carried, carried: set[str]
) -> None:
    files = read_atlas(write(pictures))
    verify_atlas(files)
    cases = list(read_cases(files))
    assert {case.source for case in cases if case.picture_bytes} == carried
    assert (PICTURES in files.files) == bool(carried)
    if carried:
        content = (files.folder / PICTURES).read_bytes()
        case = next(case for case in cases if case.picture_bytes)
        encoded = content[case.picture_start : case.picture_start + case.picture_bytes]
        assert Image.open(io.BytesIO(encoded)).format == "JPEG"
        assert len(content) == sum(case.picture_bytes for case in cases)


def test_pictures_without_an_open_licence_are_never_carried() -> None:
    assert read_sources()["odir5k"].pictures == "never"


def test_cases_are_of_the_training_split_each_with_a_unit_vector(write) -> None:  # type: ignore[no-untyped-def]
    files = read_atlas(write())
    vectors = np.load(files.folder / VECTORS)
    assert files.card.cases == IN_TRAIN * len(label_table()) == len(vectors)
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(1, abs=1e-5)
    assert files.manifest["evaluation"]["split"] == "test"


def test_a_data_set_may_be_left_out(write) -> None:  # type: ignore[no-untyped-def]
    files = read_atlas(write(without=frozenset({"odir5k"})))
    assert {source.name for source in files.card.sources} == {"ham10000", "kermany_cxr"}
    with pytest.raises(ExportError, match="0 cases are left, and figures need more than 5"):
        write("none", without=frozenset(read_sources()))


def test_as_few_cases_as_are_looked_at_are_refused(write) -> None:  # type: ignore[no-untyped-def]
    without = frozenset({"odir5k", "ham10000"})
    with pytest.raises(ExportError, match=r"3 cases are left.*--per-label"):
        write("none", per_label=1, without=without)


def test_a_picture_that_is_there_twice_is_named(
    data: Path, captions: Path, atlas_run: Path, tmp_path: Path
) -> None:
    import shutil

    import pyarrow as pa
    import pyarrow.parquet as pq

    twice = shutil.copytree(data, tmp_path / "twice")
    table = pq.read_table(twice / "kermany_cxr.parquet")
    images = table["image"].to_pylist()
    first, second, *_ = (
        n for n, split in enumerate(table["split"].to_pylist()) if split == "train"
    )
    images[second] = images[first]
    place = table.schema.get_field_index("image")
    pq.write_table(
        table.set_column(place, "image", pa.array(images)), twice / "kermany_cxr.parquet"
    )
    order, out = AtlasOrder("tiny", "none", None), tmp_path / "out"
    heads = atlas_run / "heads.npz"
    with pytest.raises(
        ExportError, match=f"row {second}: is the same picture as kermany_cxr, row {first};"
    ):
        write_atlas(order, BUILT_IN, heads, twice, captions, tmp_path / "run", out, 1, quiet)
    assert not out.exists()


def test_a_release_without_heads_is_refused(
    data: Path, captions: Path, atlas_run: Path, tmp_path: Path
) -> None:
    order, out = AtlasOrder("tiny", "none", None), tmp_path / "out"
    with pytest.raises(ExportError, match="needs --heads"):
        write_atlas(order, BUILT_IN, None, data, captions, atlas_run, out, 1, quiet)
    assert not out.exists()
