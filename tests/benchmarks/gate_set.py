"""What the gate is measured on: pictures that are none of the three kinds, or that are spoiled.

Nothing of it is kept in the project. Three parts:

- real: pictures inside packages that are downloaded, not installed, into one folder (SOURCES says
  which file of which package is what, and under which licence), and pydicom's own test files;
- spoiled: pictures of the validation split (development half) and of the test split (held half),
  heavily blurred, wrongly exposed, drowned in noise, or with their patches shuffled;
- drawn: odd_drawings.py.

Two halves, by source: the gate's method was chosen on `development` and is measured on `held`,
which shares no package, no drawing style and no spoiled picture with it.

    pip download --no-deps -d PACKAGES scikit-image nibabel nilearn dipy matplotlib
    cd PACKAGES && apt-get download gnome-backgrounds mate-backgrounds insighttoolkit5-examples \\
        mricron-data opencv-doc invesalius-examples
"""

import fnmatch
import gzip
import importlib.util
import io
import subprocess
import tarfile
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from export.familiarity import opened, shuffled
from tests.benchmarks.odd_drawings import DRAWN
from training.evaluation.questions import read_questions

Half = Literal["development", "held"]
PER_DRAWN_KIND = 12
PER_SPOILED_KIND = 30
SLICES_PER_VOLUME = 6
"""Two in each of the three planes."""


@dataclass(frozen=True)
class OddPicture:
    kind: str
    source: str
    half: Half
    how: Literal["real", "spoiled", "drawn"]
    encoded: bytes
    """A file as a clinician would give it."""


@dataclass(frozen=True)
class Wanted:
    """Some files of a package, all showing one kind of thing."""

    kind: str
    pattern: str
    """Of the end of the path inside the package."""
    apart_from: tuple[str, ...] = ()


@dataclass(frozen=True)
class Source:
    package: str
    """How the file's name begins; those in INSTALLED are read where they are installed."""
    half: Half
    licence: str
    wanted: tuple[Wanted, ...]


INSTALLED = {"pydicom": "pydicom", "pydicom-data": "data_store", "scikit-learn": "sklearn"}
"""Package, and the name it is imported by."""
THINGS = "photograph"
SOURCES = (
    Source(
        "scikit_image",
        "development",
        "BSD-3-Clause; images public domain or CC0 (skimage/data/README.txt)",
        (
            Wanted(
                THINGS,
                "data/*[!l].png",
                (
                    "page",
                    "text",
                    "logo",
                    "microaneurysms",
                    "phantom",
                    "ihc",
                    "color",
                    "cell",
                    "horse",
                    "astronaut",
                    "clock_motion",
                ),
            ),
            Wanted(THINGS, "data/rocket.jpg"),
            Wanted(THINGS, "data/hubble_deep_field.jpg"),
            Wanted("face", "data/astronaut.png"),
            Wanted("face", "data/lfw_subset.npy"),
            Wanted("text page", "data/page.png"),
            Wanted("text page", "data/text.png"),
            Wanted("microscopy", "data/ihc.png"),
            Wanted("microscopy", "data/cell.png"),
            Wanted("graphic", "data/logo.png"),
            Wanted("graphic", "data/color.png"),
            Wanted("graphic", "data/horse.png"),
        ),
    ),
    Source(
        "gnome-backgrounds", "development", "CC-BY-SA-3.0", (Wanted("graphic", "gnome/*.webp"),)
    ),
    Source(
        "mricron-data",
        "development",
        "BSD-2-Clause; templates of their makers",
        (
            Wanted("MR", "templates/ch2better.nii.gz"),
            Wanted("MR", "templates/inia19-t1-brain.nii.gz"),
        ),
    ),
    Source(
        "insighttoolkit5-examples",
        "development",
        "Apache-2.0",
        (
            Wanted("MR", "Data/Brain*Slice*.png", ("Border", "X13", "Shifted", "2x3")),
            Wanted("MR", "Data/FatMRISlice.png"),
            Wanted("anatomy photograph", "Data/VisibleWoman*.png"),
        ),
    ),
    Source(
        "pydicom",
        "development",
        "MIT",
        (
            Wanted("CT", "CT_small.dcm"),
            Wanted("MR", "MR_small.dcm"),
            Wanted("ultrasound", "examples_*color.dcm"),
            Wanted("ultrasound", "examples_palette.dcm"),
            Wanted("graphic", "SC_rgb_rle.dcm"),
            Wanted("MR", "examples_overlay.dcm"),
        ),
    ),
    Source(
        "opencv-doc",
        "held",
        "Apache-2.0",
        (
            Wanted(
                THINGS,
                "data/*.jpg",
                (
                    "ellipses",
                    "HappyFish",
                    "Blender",
                    "text_",
                    "left",
                    "right",
                    "graf",
                    "box.",
                    "starry",
                    "aloeGT",
                    "WindowsLogo",
                    "gradient",
                ),
            ),
            Wanted(THINGS, "data/left0[1-4].jpg"),
            Wanted(THINGS, "data/chicky_512.png"),
            Wanted(THINGS, "dnn_superres/*.png"),
            Wanted(THINGS, "quality/*.jpg"),
            Wanted(THINGS, "text/scenetext0?.jpg"),
            Wanted("text page", "text/scenetext_*word*.jpg"),
            Wanted("text page", "data/*ext*.*g", ("scene",)),
            Wanted("text page", "data/sudoku.png"),
            Wanted("text page", "data/notes.png"),
            Wanted("text page", "data/digits.png"),
            Wanted("graphic", "data/pic?.png"),
            Wanted("graphic", "data/*logo*.png"),
            Wanted("graphic", "data/smarties.png"),
            Wanted("graphic", "data/cards.png"),
            Wanted("graphic", "data/ml.png"),
            Wanted("graphic", "data/graf?.png"),
            Wanted("graphic", "data/ellipses.jpg"),
            Wanted("graphic", "data/HappyFish.jpg"),
            Wanted("graphic", "data/Blender*.jpg"),
            Wanted("graphic", "data/starry_night.jpg"),
            Wanted("graphic", "data/WindowsLogo.jpg"),
        ),
    ),
    Source(
        "mate-backgrounds",
        "held",
        "CC-BY-SA-4.0 and GPL-2+",
        (Wanted(THINGS, "nature/*.jpg"), Wanted("graphic", "abstract/*.*g", ("_",))),
    ),
    Source(
        "matplotlib",
        "held",
        "matplotlib (BSD-style); picture public domain",
        (
            Wanted("face", "sample_data/grace_hopper.jpg"),
            Wanted("graphic", "sample_data/Minduka_Present_Blue_Pack.png"),
        ),
    ),
    Source(
        "scikit-learn",
        "held",
        "CC-BY-2.0",
        (Wanted(THINGS, "images/*.jpg"),),
    ),
    Source(
        "nilearn",
        "held",
        "BSD-3-Clause",
        (
            Wanted("MR", "data/mni_icbm152_t1_*.nii.gz"),
            Wanted("MR", "data/image_10426.nii.gz"),
        ),
    ),
    Source(
        "nibabel",
        "held",
        "MIT",
        (
            Wanted("MR", "tests/data/anatomical.nii"),
            Wanted("MR", "tests/data/functional.nii"),
            Wanted("MR", "tests/data/example4d.nii.gz"),
        ),
    ),
    Source(
        "dipy",
        "held",
        "BSD-3-Clause",
        (Wanted("MR", "files/t1_coronal_slice.npy"), Wanted("MR", "files/S0_10slices.nii.gz")),
    ),
    Source("invesalius-examples", "held", "GPL-2", (Wanted("CT", "examples/Cranium.inv3"),)),
    Source(
        "pydicom-data",
        "held",
        "MIT",
        (
            Wanted("CT", "data/693_UNCR.dcm"),
            Wanted("CT", "data/explicit_VR-UN.dcm"),
            Wanted("CT", "data/eCT_Supplemental.dcm"),
            Wanted("MR", "data/MR2_UNCR.dcm"),
            Wanted("MR", "data/emri_small.dcm"),
            Wanted("ultrasound", "data/OBXXXX1A.dcm"),
            Wanted("ultrasound", "data/color-p[lx].dcm"),
            Wanted("ultrasound", "data/color3d_jpeg_baseline.dcm"),
            Wanted("ultrasound", "data/gdcm-US-ALOKA-16.dcm"),
            Wanted("other radiograph", "data/RG3_UNCR.dcm"),
            Wanted("other radiograph", "data/RG3_J2KI.dcm"),
            Wanted("graphic", "data/[mv]lut_??.dcm"),
            Wanted("nuclear medicine", "data/JPEG2000_UNC.dcm"),
        ),
    ),
)
KIN = (
    Source("scikit_image", "held", "public domain (STARE)", (Wanted("fundus", "data/retina.jpg"),)),
    Source(
        "pydicom-data",
        "held",
        "MIT",
        (Wanted("chest", "data/RG1_UNCR.dcm"), Wanted("chest", "data/RG1_J2KI.dcm")),
    ),
)
"""Pictures of the three kinds from elsewhere: the gate must let them through."""


def odd_pictures(packages: Path, data: Path, half: Half) -> list[OddPicture]:
    """One half of the set, in a fixed order. Packages that are not in the folder are left out."""
    return [*real(packages, SOURCES, half), *spoiled(data, half), *drawn(half)]


def real(packages: Path, sources: Sequence[Source], half: Half) -> Iterator[OddPicture]:
    for source in sources:
        if source.half != half:
            continue
        files = dict(_files(packages, source.package))
        for wanted in source.wanted:
            for path in sorted(fnmatch.filter(files, f"*{wanted.pattern}")):
                if any(part in Path(path).name for part in wanted.apart_from):
                    continue
                for encoded in _pictures(path, files[path]()):
                    yield OddPicture(wanted.kind, source.package, half, "real", encoded)


def spoiled(data: Path, half: Half) -> Iterator[OddPicture]:
    questions = read_questions(
        data, "val" if half == "development" else "test", len(SPOILED) * PER_SPOILED_KIND // 3, 7
    )
    rng = np.random.default_rng([7, half == "held"])
    rng.shuffle(questions)
    for place, question in enumerate(questions[: len(SPOILED) * PER_SPOILED_KIND]):
        kind = list(SPOILED)[place % len(SPOILED)]
        picture = SPOILED[kind](opened(question), rng)
        yield OddPicture(kind, question.example.dataset, half, "spoiled", _png(picture))


def drawn(half: Half) -> Iterator[OddPicture]:
    style = int(half == "held")
    for kind, draw in DRAWN.items():
        for number in range(PER_DRAWN_KIND):
            picture = draw(np.random.default_rng([number, style]), style)
            yield OddPicture(kind, f"style {style}", half, "drawn", _png(picture))


def _blurred(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    """By 4 to 8 % of the side: no vessel, border or rib is left."""
    return picture.filter(ImageFilter.GaussianBlur(picture.height * rng.uniform(0.04, 0.08)))


def _overexposed(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    """By 2.5 to 4 stops, clipped at white."""
    return picture.point(_curve(2 ** rng.uniform(2.5, 4)))


def _underexposed(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    """By 3.5 to 5 stops, with the noise of a dark sensor."""
    dark = np.asarray(picture.point(_curve(2 ** -rng.uniform(3.5, 5))), np.float64)
    return Image.fromarray((dark + rng.normal(0, 2, dark.shape)).clip(0, 255).astype(np.uint8))


def _drowned(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    """In white noise of 90 grey levels, the picture at 0.4 of its contrast."""
    grey = np.asarray(picture, np.float64) * 0.4 + 76
    return Image.fromarray((grey + rng.normal(0, 90, grey.shape)).clip(0, 255).astype(np.uint8))


def _curve(gain: float) -> list[int]:
    return [min(255, round(value * gain)) for value in range(256)] * 3


SPOILED: dict[str, Callable[[Image.Image, np.random.Generator], Image.Image]] = {
    "blurred": _blurred,
    "overexposed": _overexposed,
    "underexposed": _underexposed,
    "drowned in noise": _drowned,
    "shuffled patches": shuffled,
}


def _files(packages: Path, package: str) -> Iterator[tuple[str, Callable[[], bytes]]]:
    """Path and reader of every file of a package."""
    if package in INSTALLED:
        spec = importlib.util.find_spec(INSTALLED[package])
        if spec and spec.origin:
            for path in Path(spec.origin).parent.rglob("*"):
                if path.suffix in (".dcm", ".jpg"):
                    yield str(path), path.read_bytes
        return
    for file in sorted(packages.glob(f"{package}[-_]*")):
        if file.suffix == ".whl":
            wheel = zipfile.ZipFile(file)
            for name in wheel.namelist():
                yield name, lambda wheel=wheel, name=name: wheel.read(name)  # type: ignore[misc]
        elif file.suffix == ".deb":
            tar = subprocess.run(
                ["dpkg-deb", "--fsys-tarfile", file], stdout=subprocess.PIPE, check=True
            ).stdout
            archive = tarfile.open(fileobj=io.BytesIO(tar))  # noqa: SIM115 (read from later)
            for member in archive.getmembers():
                if member.isfile():
                    yield member.name, lambda a=archive, m=member: a.extractfile(m).read()  # type: ignore[misc]


def _pictures(path: str, content: bytes) -> Iterator[bytes]:
    """The picture itself, or slices of a volume as PNG."""
    if path.endswith("lfw_subset.npy"):
        faces = np.load(io.BytesIO(content))[:100:5]  # the second hundred shows no faces
        yield from (
            _png(Image.fromarray((face * 255).astype(np.uint8)).resize((200, 200)))
            for face in faces
        )
    elif path.endswith(".npy"):
        yield _png(_window(np.load(io.BytesIO(content))))
    elif path.endswith((".nii", ".nii.gz")):
        yield from _slices(_nifti(gzip.decompress(content) if path.endswith("gz") else content))
    elif path.endswith(".inv3"):
        with tarfile.open(fileobj=io.BytesIO(content)) as archive:
            matrix = next(m for m in archive.getmembers() if m.name.endswith("matrix.dat"))
            file = archive.extractfile(matrix)
            assert file is not None
            volume = np.frombuffer(file.read(), "<i2").reshape(-1, 256, 256)
        yield from _slices(volume.astype(np.float64).clip(-200, 800))
    else:
        yield content


def _nifti(content: bytes) -> NDArray[np.float64]:
    """The first volume of a NIfTI-1 file (nifti1.h: dim at 40, datatype at 70, vox_offset at
    108)."""
    order = "<" if int.from_bytes(content[:4], "little") == 348 else ">"
    shape = np.frombuffer(content, order + "i2", 8, 40)[1:4]
    kind = {2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8", 512: "u2"}[
        int(np.frombuffer(content, order + "i2", 1, 70)[0])
    ]
    start = int(np.frombuffer(content, order + "f4", 1, 108)[0])
    values = np.frombuffer(content, order + kind, int(np.prod(shape)), start)
    volume: NDArray[np.float64] = values.reshape(shape[::-1]).astype(np.float64)
    return volume


def _slices(volume: NDArray[np.float64]) -> Iterator[bytes]:
    for axis in range(3):
        depth = volume.shape[axis]
        if depth < 16 and axis == 0:
            continue
        for share in np.linspace(0.4, 0.6, SLICES_PER_VOLUME // 3):
            yield _png(_window(np.flip(np.take(volume, int(depth * share), axis), 0)))


def _window(values: NDArray[np.float64]) -> Image.Image:
    low, high = np.percentile(values, [1, 99.5])
    scaled = ((values - low) / (high - low + 1e-9)).clip(0, 1) * 255
    return Image.fromarray(scaled.astype(np.uint8))


def _png(picture: Image.Image) -> bytes:
    file = io.BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()
