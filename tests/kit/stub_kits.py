"""Small kits whose program is a stand-in: it says its version and fails when it is told to.

Keys, signatures, slots and switch are the real ones; pip, which takes its time, only where it is
asked for.
"""

import ensurepip
import hashlib
import json
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from appliance.kit import signing
from appliance.kit.build import Built, Wanted, build_kit
from appliance.kit.slots import Place
from appliance.kit.verify import MANIFEST, SIGNATURES, KeyList, canonical, read_keys, short_code

HOLDERS = ("anna", "bakar", "chong")
MADE = datetime(2026, 11, 22, tzinfo=UTC)
PROGRAM = """
import os, sys
from pathlib import Path
argument = " ".join(sys.argv[1:3])
if argument == "--version":
    if {cannot_start}: sys.exit(1)
    print({version})
elif argument == "kit self-test":
    if {fails_trial}: sys.exit("error: the stand-in was told to fail")
    import importlib.util
    if importlib.util.find_spec("kernels"):
        import kernels
        if kernels.FAIL: sys.exit("error: the card's kernels were told to fail")
elif argument == "kernels":
    import kernels
    print(kernels.NAME)
elif argument == "kit try-data":
    if {fails_data}: sys.exit("error: the stand-in cannot read this")
elif argument == "kit note":
    notes = Path(os.environ["APPLIANCE_HOME"], "notes")
    notes.parent.mkdir(parents=True, exist_ok=True)
    notes.open("a").write(sys.argv[3] + "\\n")
elif sys.argv[1:2] == ["rewrite"]:
    Path(sys.argv[2]).write_text("another line\\n")
elif argument == "kit --help" and "new_setting" in Path(
    os.environ["APPLIANCE_HOME"], "settings.toml"
).read_text():
    sys.exit("error: no such setting `new_setting`")
elif {cannot_start}:
    import a_module_that_is_not_there
else:
    print("version", {version})
"""


PIP = """
import pathlib, sys, sysconfig, zipfile
wheels = sys.argv[sys.argv.index("--find-links") + 1]
for wheel in pathlib.Path(wheels).glob("clinic*.whl"):
    zipfile.ZipFile(wheel).extractall(sysconfig.get_path("purelib"))
"""


@dataclass(frozen=True)
class Bench:
    """A workstation with keys, and a machine to install on."""

    folder: Path
    keys: KeyList

    @property
    def place(self) -> Place:
        return Place(self.folder / "box", self.folder / "home")

    @property
    def code(self) -> str:
        return short_code(self.keys.text)

    def key(self, name: str) -> Path:
        return self.folder / f"{name}.key"

    def kit(self, version: int, *, signed_by: tuple[str, ...] = HOLDERS[:2], **told: bool) -> Path:
        """A signed kit; `told` is cannot_start, fails_trial, fails_data, real_pip, or that it has
        wheels for a card, which fail: card_fails."""
        out = self.folder / f"kit-{version}"
        self.build(version, out, **told)
        for name in signed_by:
            signing.sign_kit(signing.read_to_sign(out), self.key(name), str)
        return out

    def changed(self, kit: Path, change: Callable[[dict[str, Any]], None]) -> Path:
        """The kit with another manifest, which two sign all the same."""
        said = json.loads((kit / MANIFEST).read_bytes())
        change(said)
        return self.with_manifest(kit, canonical(said))

    def with_manifest(self, kit: Path, text: bytes, purpose: str = "manifest") -> Path:
        (kit / MANIFEST).write_bytes(text)
        for name in HOLDERS[:2]:
            signing._sign(kit / SIGNATURES, self.keys, purpose, text, self.key(name), str)
        return kit

    def build(
        self,
        version: int,
        out: Path,
        *,
        real_pip: bool = False,
        card_fails: bool | None = None,
        **told: bool,
    ) -> Built:
        cuda = None
        wheels = self.folder / f"wheels-{version}"
        wheels.mkdir()
        make_program(wheels, version, **told)
        if real_pip:
            bundled = Path(ensurepip.__file__).parent / "_bundled"
            pip = next(bundled.glob("pip-*.whl"))
            (wheels / pip.name).write_bytes(pip.read_bytes())
        else:
            make_wheel(wheels, "pip", "1", {"pip/__main__.py": PIP})
        if card_fails is not None:
            cuda = self.folder / f"cuda-{version}"
            cuda.mkdir()
            make_kernels(wheels, "1", "processor")
            make_kernels(cuda, "1+cuda", "card", fail=card_fails)
        wanted = Wanted(version, MADE, wheels, self.folder / "keys", cuda=cuda)
        return build_kit(wanted, out, lambda text: None)


def make_bench(folder: Path) -> Bench:
    for name in HOLDERS:
        signing.make_key(folder, name, "")
    made = signing.make_key_list(folder / "keys", [folder / f"{name}.pub" for name in HOLDERS])
    return Bench(folder, read_keys(made.text))


def make_program(
    folder: Path,
    version: int,
    *,
    cannot_start: bool = False,
    fails_trial: bool = False,
    fails_data: bool = False,
) -> None:
    told = {"cannot_start": cannot_start, "fails_trial": fails_trial, "fails_data": fails_data}
    members = {
        "appliance/__init__.py": "",
        "appliance/__main__.py": PROGRAM.format(version=version, **told),
        "appliance/large.txt": "as before\n" * 10_000,
    }
    make_wheel(folder, "clinic_appliance", str(version), members)


def make_kernels(folder: Path, version: str, name: str, *, fail: bool = False) -> None:
    """Stands in for llama.cpp."""
    make_wheel(folder, "kernels", version, {"kernels.py": f"NAME, FAIL = {name!r}, {fail}\n"})


def make_wheel(folder: Path, name: str, version: str, files: Mapping[str, str]) -> None:
    info = f"{name}-{version}.dist-info"
    members = {
        **files,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        "License: MIT\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/licenses/LICENSE": "Permission is granted.\n",
    }
    rows = [f"{member},," for member in members]
    members[f"{info}/RECORD"] = "\n".join([*rows, f"{info}/RECORD,,"]) + "\n"
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as wheel:
        for member, text in members.items():
            wheel.writestr(zipfile.ZipInfo(member), text)


def imprint(folder: Path) -> str:
    """Of every name and byte under a folder."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        digest.update(str(path.relative_to(folder)).encode())
        if path.is_file() and not path.is_symlink():
            digest.update(path.read_bytes())
    return digest.hexdigest()
