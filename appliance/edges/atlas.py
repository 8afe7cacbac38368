"""The atlas on this machine: its cases in a Chroma collection, behind the port of core.atlas.

The collection is made here, once, of the atlas's plain files; it may be deleted at any time. What
makes vectors of pictures and words is a pair of towers, a release's own or a CLIP-type one.
"""

import hashlib
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from appliance.core.atlas import (
    AtlasCard,
    AtlasCase,
    Neighbour,
    TowerId,
    Towers,
    Vector,
    refusal_of,
)
from appliance.core.gate import Refusal
from appliance.core.ports import Captioner, Picture
from appliance.errors import AtlasError
from appliance.private_files import make_private_folder
from appliance.release.atlas_files import (
    COPY_AGAIN,
    MANIFEST,
    MOST_PICTURE_BYTES,
    PICTURES,
    VECTORS,
    AtlasFiles,
    StoredCase,
    atlas_place,
    read_atlas,
    read_cases,
    refuse_other_tower,
    release_tower,
    verify_atlas,
)
from appliance.release.atlas_heads import HEADS, Heads, read_heads
from appliance.release.manifest import Release
from cpg_store.embed import Embedder
from cpg_store.errors import CpgStoreError, IndexDamaged
from cpg_store.vectors import Vectors

COLLECTION = "atlas"
Floats = NDArray[np.float32]


class ReleaseTowers:
    """The vision tower of a release, and the sentence embedder that is installed."""

    def __init__(self, release: Release, captioner: Captioner) -> None:
        """Raises: AtlasError."""
        self._captioner = captioner
        with _our_errors():
            self._embedder = Embedder.default()
        self.identity = release_tower(release, self._embedder.identity)

    def picture_features(self, picture: Picture) -> Vector:
        return self._captioner.features(picture)

    def text_features(self, text: str) -> Vector:
        with _our_errors():
            found: list[float] = self._embedder.embed_question(text).tolist()
        return found

    def refusal(self, picture: Picture, features: Vector) -> Refusal | None:
        return refusal_of(self._captioner.release.gate, picture, features)


class AtlasFolder:
    """An open atlas."""

    def __init__(self, files: AtlasFiles, towers: Towers, home: Path) -> None:
        """`home` is where collections are kept. Raises: AtlasError, also for an atlas that belongs
        to other towers."""
        refuse_other_tower(files, towers.identity)
        self._files, self._towers = files, towers
        self._heads = _read_heads(files)
        self._sources = {source.name: source for source in files.card.sources}
        collection = home / files.card.sha256[:16]
        if not collection.is_dir():
            _make_collection(files, collection)
        with _our_errors():
            self._vectors = Vectors.in_folder(collection, COLLECTION)
            count = self._vectors.count()
        if count != files.card.cases:
            self.close()
            raise AtlasError(
                f"the atlas's index holds {count} of {files.card.cases} cases: {collection}",
                "delete that folder; it is made again at the next use",
            )

    @property
    def card(self) -> AtlasCard:
        return self._files.card

    def features(self, picture: Picture) -> Vector:
        return self._towers.picture_features(picture)

    def refusal(self, picture: Picture, features: Vector) -> Refusal | None:
        return self._towers.refusal(picture, features)

    def of_features(self, features: Vector) -> Vector:
        rows = np.asarray([features], np.float32)
        found: list[float] = (self._heads.image.project(rows) if self._heads else rows)[0].tolist()
        return found

    def of_text(self, text: str) -> Vector:
        rows = np.asarray([self._towers.text_features(text)], np.float32)
        found: list[float] = (self._heads.text.project(rows) if self._heads else rows)[0].tolist()
        return found

    def nearest(self, vector: Vector, k: int) -> tuple[Neighbour, ...]:
        with _our_errors():
            found = self._vectors.nearest_kept(np.asarray(vector, np.float32), k)
        return tuple(
            Neighbour(self._case(case_id, kept), round(cosine, 6))
            for case_id, cosine, kept in found
        )

    def close(self) -> None:
        self._vectors.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.close()

    def _case(self, case_id: str, kept: dict[str, Any]) -> AtlasCase:
        return AtlasCase(
            case_id=case_id,
            label=kept["label"],
            domain=kept["domain"],
            findings=kept["findings"],
            caption=kept["caption"],
            source=self._sources[kept["source"]],
            row=kept["row"],
            picture=self._picture(kept["picture_start"], kept["picture_bytes"]),
        )

    def _picture(self, start: int, size_bytes: int) -> bytes | None:
        if not size_bytes:
            return None
        try:
            with (self._files.folder / PICTURES).open("rb") as file:
                file.seek(start)
                return file.read(min(size_bytes, MOST_PICTURE_BYTES))
        except OSError as exc:
            raise AtlasError(
                f"the atlas's pictures cannot be read ({exc.strerror}): {self._files.folder}",
                "add the atlas again",
            ) from exc


def add_atlas(folder: Path, tower: TowerId, home: Path) -> AtlasFiles:
    """Copy the atlas in `folder` to `home`, verified; it takes the place of the one before.

    Raises: AtlasMissingError, AtlasError, also for an atlas that belongs to another tower.
    """
    carried = read_atlas(folder)
    refuse_other_tower(carried, tower)
    place = atlas_place(home, tower)
    try:
        make_private_folder(home)
        aside = Path(tempfile.mkdtemp(dir=home, prefix=".partial-"))
        try:
            for name in (*carried.files, MANIFEST):
                shutil.copyfile(folder / name, aside / name)
            copied = read_atlas(aside)
            verify_atlas(copied)
            before = home / f".before-{place.name}"
            shutil.rmtree(before, ignore_errors=True)
            with suppress(FileNotFoundError):
                place.rename(before)
            aside.rename(place)
            with suppress(AtlasError):  # there was none, or none that could be read
                shutil.rmtree(home / read_atlas(before).card.sha256[:16], ignore_errors=True)
            shutil.rmtree(before, ignore_errors=True)
        except BaseException:
            shutil.rmtree(aside, ignore_errors=True)
            raise
    except OSError as exc:
        raise AtlasError(
            f"the atlas cannot be copied ({exc.strerror}): {place}",
            "make room, and check the folder's permissions",
        ) from exc
    return read_atlas(place)


def _read_heads(files: AtlasFiles) -> Heads | None:
    """None where the towers share a space already. Raises: AtlasError."""
    if HEADS not in files.files:
        return None
    path = files.folder / HEADS
    try:
        encoded = path.read_bytes()
        if hashlib.sha256(encoded).hexdigest() != files.files[HEADS][0]:
            raise ValueError("they are not those that its manifest declares")
        return read_heads(encoded)
    except (OSError, ValueError) as exc:
        raise AtlasError(f"the atlas's heads cannot be read ({exc}): {path}", COPY_AGAIN) from exc


def _make_collection(files: AtlasFiles, place: Path) -> None:
    """Verify the files and index them; aside, then renamed: two processes may do so at once."""
    verify_atlas(files)
    path = files.folder / VECTORS
    try:
        rows: Floats = np.load(path, allow_pickle=False)
    except (OSError, ValueError) as exc:
        raise AtlasError(f"the atlas's vectors cannot be read ({exc}): {path}", COPY_AGAIN) from exc
    cases = list(read_cases(files))
    if rows.dtype != np.float32 or rows.shape != (len(cases), files.dimensions):
        raise AtlasError(f"the atlas's vectors do not fit its cases: {path}", COPY_AGAIN)
    if len({case.case_id for case in cases}) != files.card.cases:
        raise AtlasError(f"the atlas's cases are not those it counts: {files.folder}", COPY_AGAIN)
    try:
        make_private_folder(place.parent)
        aside = Path(tempfile.mkdtemp(dir=place.parent, prefix=".partial-"))
        try:
            with _our_errors():
                vectors = Vectors.in_folder(aside, COLLECTION)
                vectors.add(
                    dict(zip((case.case_id for case in cases), rows, strict=True)),
                    list(map(_kept, cases)),
                )
                vectors.close()
            aside.rename(place)
        except BaseException:
            shutil.rmtree(aside, ignore_errors=True)
            raise
    except OSError as exc:
        if place.is_dir():  # another process was first
            return
        raise AtlasError(
            f"the atlas's index cannot be written ({exc.strerror}): {place}",
            "make room, and check the folder's permissions",
        ) from exc


def _kept(case: StoredCase) -> dict[str, Any]:
    kept = asdict(case)
    del kept["case_id"]
    return kept


@contextmanager
def _our_errors() -> Iterator[None]:
    try:
        yield
    except IndexDamaged as exc:
        hint = "delete the folder; it is made again at the next use"
        raise AtlasError(exc.message, hint) from exc
    except CpgStoreError as exc:
        raise AtlasError(exc.message, exc.hint) from exc
