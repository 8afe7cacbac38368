"""Making a kit: a folder for a stick, whole but for its signatures.

The same inputs give the same bytes: nothing in it tells when or where it was made but the date
that is given. Written aside and renamed.
"""

import hashlib
import platform
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import appliance
from appliance import __version__
from appliance.errors import ConfigError, KitError
from appliance.kit.sbom import bill, licence_files
from appliance.kit.selftest import Answers
from appliance.kit.signing import read_key_folder
from appliance.kit.verify import (
    CUDA,
    CUDA_REQUIREMENTS,
    FORMAT,
    GUIDELINES,
    INDEX,
    KEYS,
    MANIFEST,
    PRODUCT,
    RELEASES,
    REQUIREMENTS,
    WHEELS,
    Say,
    canonical,
    refuse_odd_wheel,
    safe_path,
    short_code,
)
from appliance.kit.wheels import Wheel, least_glibc, read_wheel, unpacked_bytes
from appliance.release.manifest import MANIFEST as RELEASE_MANIFEST
from appliance.release.manifest import Release, verify

PART_BYTES = 2_000_000_000
"""A larger file is cut: FAT32 holds none of 4 GiB or more, and some sticks' drivers none of 2."""
TOOLS = (
    "errors.py", "kit/ed25519.py", "kit/verify.py", "kit/slots.py", "kit/install.py",
)  # fmt: skip
"""Of the package, what the first install runs with the system's Python."""
PROCESSOR = {
    "x86_64": ["avx", "cx16", "popcnt", "sse4_1", "sse4_2", "ssse3"],
    "aarch64": ["asimd"],
}
"""Without these numpy's wheels do not run (tried: Sandy Bridge of 2011 does, Westmere does not)."""
VENV_BYTES = 20_000_000
MOST_WHEEL_BYTES = 1 << 30
PIECE_BYTES = 1 << 20


@dataclass(frozen=True)
class Wanted:
    """What a kit is made of."""

    version: int
    """Rises with every kit."""
    made: datetime
    wheels: Path
    keys: Path
    """Folder of lists of keys."""
    releases: Sequence[Release] = ()
    answers: Mapping[str, Answers] | None = None
    """What each release makes of the drawings, by name."""
    index: Path | None = None
    """A guideline index: a set of its own in the clinic."""
    guidelines: Sequence[Path] = ()
    """Documents whose licence lets them be handed on; those not in the index are indexed there."""
    cuda: Path | None = None
    """Wheels of `appliance kit wheels --cuda`."""


@dataclass(frozen=True)
class Built:
    folder: Path
    files: int
    size_bytes: int
    sha256: str
    """Of the manifest: what is signed."""
    installer_sha256: str
    keys_code: str


def build_kit(wanted: Wanted, out: Path, say: Say, part_bytes: int = PART_BYTES) -> Built:
    """Raises: ConfigError, KitError, ReleaseError."""
    if out.exists():
        raise ConfigError(f"there is something already: {out}", "give a new folder")
    wheels = [read_wheel(path) for path in sorted(wanted.wheels.glob("*.whl"))]
    if not {PRODUCT, "pip"} <= {wheel.name for wheel in wheels}:
        raise ConfigError(
            f"not the wheels of a kit: {wanted.wheels}", "make them with `appliance kit wheels`"
        )
    cuda = _cuda_wheels(wanted.cuda, wheels) if wanted.cuda else []
    for wheel in (*wheels, *cuda):
        refuse_odd_wheel(wheel.path, MOST_WHEEL_BYTES)
    keys = read_key_folder(wanted.keys)
    aside = out.with_name(out.name + ".partial")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    kit = _Folder(aside, part_bytes, say)
    _add_program(kit, wheels, cuda)
    for release in wanted.releases:
        verify(release)
        for name in (RELEASE_MANIFEST, *sorted(release.files)):
            kit.copy(release.directory / name, f"{RELEASES}/{release.name}/{name}")
    if wanted.index:
        for name in _files_under(wanted.index):
            kit.copy(wanted.index / name, f"{INDEX}/{name}")
    for document in sorted(wanted.guidelines):
        kit.copy(document, f"{GUIDELINES}/{document.name}")
    for path in sorted(wanted.keys.iterdir()):
        if re.fullmatch(r"[1-9][0-9]*\.(json|signatures)", path.name):
            kit.copy(path, f"{KEYS}/{path.name}")
    kit.write("sbom.json", bill([*wheels, *cuda], wanted.releases, wanted.version, wanted.made))
    pythons = _pythons(wheels)
    kit.write("install.sh", _installer(pythons))
    kit.write("read-me.txt", _read_me(wanted, pythons))
    manifest = _manifest(wanted, wheels, cuda, pythons, kit.files)
    (aside / MANIFEST).write_bytes(manifest)
    aside.rename(out)
    return Built(
        out,
        len(kit.files),
        sum(int(file["size_bytes"]) for file in kit.files.values()),
        hashlib.sha256(manifest).hexdigest(),
        str(kit.files["install.sh"]["sha256"]),
        short_code(keys.text),
    )


class _Folder:
    """The kit's folder, and what its manifest will say of each file."""

    def __init__(self, folder: Path, part_bytes: int, say: Say) -> None:
        self._folder, self._part_bytes, self._say = folder, part_bytes, say
        self.files: dict[str, dict[str, Any]] = {}

    def write(self, name: str, content: bytes) -> None:
        self._check(name)
        path = self._folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        self.files[name] = _entry(hashlib.sha256(content).hexdigest(), len(content))

    def copy(self, source: Path, name: str) -> None:
        """In parts, if it is too large for one file of a stick."""
        self._check(name)
        self._say(f"copying {name}")
        size_bytes = source.stat().st_size
        whole, parts = hashlib.sha256(), []
        (self._folder / name).parent.mkdir(parents=True, exist_ok=True)
        with source.open("rb") as file:
            for number in range(1, max(1, -(-size_bytes // self._part_bytes)) + 1):
                cut = size_bytes > self._part_bytes
                target = self._folder / (f"{name}.part{number}" if cut else name)
                digest, left = hashlib.sha256(), self._part_bytes
                with target.open("wb") as copy:
                    while left and (piece := file.read(min(PIECE_BYTES, left))):
                        copy.write(piece)
                        digest.update(piece)
                        whole.update(piece)
                        left -= len(piece)
                parts.append(_entry(digest.hexdigest(), self._part_bytes - left))
        self.files[name] = _entry(whole.hexdigest(), size_bytes)
        if len(parts) > 1:
            self.files[name]["parts"] = parts

    def _check(self, name: str) -> None:
        try:
            safe_path(name)
        except ValueError as exc:
            raise ConfigError(
                f"a stick may not keep this name: {name}",
                "rename it: letters, digits, dots, `_` and `-`",
            ) from exc
        if name.casefold() in {known.casefold() for known in self.files}:
            raise ConfigError(f"two files of one name: {name}", "rename one of them")


def _cuda_wheels(folder: Path, wheels: Sequence[Wheel]) -> list[Wheel]:
    """Raises: ConfigError unless each has the name of one of the others, and another version."""
    found = [read_wheel(path) for path in sorted(folder.glob("*.whl"))]
    versions = {wheel.name: wheel.version for wheel in wheels}
    if not found or any(versions.get(one.name) in (None, one.version) for one in found):
        raise ConfigError(
            f"not wheels for a graphics card: {folder}",
            "make them with `appliance kit wheels --cuda`",
        )
    return found


def _requirements(wheels: Sequence[Wheel]) -> bytes:
    hashes: dict[str, list[str]] = {}
    for wheel in wheels:
        if wheel.name != "pip":
            hashes.setdefault(f"{wheel.name}=={wheel.version}", []).append(wheel.sha256)
    lines = [
        " ".join([name, *(f"--hash=sha256:{one}" for one in sorted(found))])
        for name, found in sorted(hashes.items())
    ]
    return ("\n".join(lines) + "\n").encode()


def _add_program(kit: _Folder, wheels: Sequence[Wheel], cuda: Sequence[Wheel]) -> None:
    for wheel in wheels:
        kit.copy(wheel.path, f"{WHEELS}/{wheel.path.name}")
    kit.write(REQUIREMENTS, _requirements(wheels))
    for wheel in cuda:
        kit.copy(wheel.path, f"{CUDA}/{wheel.path.name}")
    if cuda:
        names = {wheel.name for wheel in cuda}
        others = [wheel for wheel in wheels if wheel.name not in names]
        kit.write(CUDA_REQUIREMENTS, _requirements([*others, *cuda]))
    package = Path(appliance.__file__).parent
    for tool in TOOLS:
        kit.write(f"tools/appliance/{tool}", (package / tool).read_bytes())
    for name, text in licence_files([*wheels, *cuda]).items():
        kit.write(f"licences/{name}", text)


def _manifest(
    wanted: Wanted,
    wheels: Sequence[Wheel],
    cuda: Sequence[Wheel],
    pythons: Sequence[str],
    files: Mapping[str, Any],
) -> bytes:
    machine = platform.machine()
    return canonical(
        {
            "format": FORMAT,
            "product": PRODUCT,
            "kind": "manifest",
            "version": wanted.version,
            "appliance": __version__,
            "made": wanted.made.date().isoformat(),
            "machine": machine,
            "processor": PROCESSOR[machine],
            "glibc": [2, max(least_glibc(wheel) for wheel in wheels)],
            "pythons": list(pythons),
            "unpacked_bytes": VENV_BYTES + sum(unpacked_bytes(wheel) for wheel in (*wheels, *cuda)),
            "releases": dict(wanted.answers or {}),
            "files": dict(files),
        }
    )


def _pythons(wheels: Sequence[Wheel]) -> list[str]:
    """The versions that every package has a wheel for. Raises: KitError when there is none."""
    found = []
    for minor in range(11, 30):
        fitting = {
            wheel.name
            for wheel in wheels
            if any(
                tag.interpreter in ("py3", "py2.py3", f"cp3{minor}")
                or (tag.abi == "abi3" and int(tag.interpreter.removeprefix("cp3") or 0) <= minor)
                for tag in wheel.tags
            )
        }
        if fitting == {wheel.name for wheel in wheels}:
            found.append(f"3.{minor}")
    if not found:
        raise KitError("no Python has a wheel of every package", "make the wheels again")
    return found


def _installer(pythons: Sequence[str]) -> bytes:
    package = Path(appliance.__file__).parent
    lines = []
    for tool in TOOLS:
        sha256 = hashlib.sha256((package / tool).read_bytes()).hexdigest()
        lines.append(f"{sha256}  appliance/{tool}")
    text = (package / "kit" / "install.sh").read_text(encoding="utf-8")
    for name, value in {
        "@TOOLS@": "\n".join(lines),
        "@TOOL_NAMES@": " ".join(TOOLS),
        "@PYTHONS@": " or ".join(pythons),
        "@PYTHONS_SPACED@": " ".join(pythons),
        "@PYTHON_NAMES@": " ".join(f"python{version}" for version in pythons),
    }.items():
        text = text.replace(name, value)
    return text.encode()


def _read_me(wanted: Wanted, pythons: Sequence[str]) -> bytes:
    return f"""\
Clinic appliance, kit {wanted.version} of {wanted.made.date().isoformat()}

First install: open a terminal in this folder, type

    sha256sum install.sh

and compare with the paper that came with this kit. If it is the same, type

    sh install.sh

and then the code of the keys from the paper. It needs Python {" or ".join(pythons)}, and neither
network nor root.

Update: type `appliance kit install` and this folder's name. Do not run install.sh.
Go back: `appliance kit rollback`. Remove: `appliance kit uninstall`; the record stays.
What is in the kit: sbom.json; the licences: licences/.
""".encode()


def _files_under(folder: Path) -> list[str]:
    """Without locks and journals, which belong to a running program."""
    return sorted(
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_file() and path.name != "lock" and not path.name.endswith("-journal")
    )


def _entry(sha256: str, size_bytes: int) -> dict[str, Any]:
    return {"sha256": sha256, "size_bytes": size_bytes}
