"""Wheels as files: what one says of itself, and writing one anew, the same bytes each time.

A wheel is a zip file with a *.dist-info folder (PyPA, Binary distribution format).
"""

import base64
import hashlib
import re
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from email.message import Message
from email.parser import BytesParser
from pathlib import Path, PurePosixPath

from packaging.requirements import Requirement
from packaging.tags import Tag
from packaging.utils import canonicalize_name, parse_wheel_filename

ZIP_EPOCH = (1980, 1, 1, 0, 0, 0)
LICENCE = re.compile(r"(?i)(licen[cs]e|copying|notice|copyright|authors)")
GLIBC = re.compile(rb"GLIBC_2\.(\d+)")
COMPILED_SHARE = 1.5
"""Bytes of a compiled module for one of its source, generously."""


@dataclass(frozen=True)
class Wheel:
    path: Path
    name: str
    """Canonical: small letters and hyphens."""
    version: str
    tags: frozenset[Tag]
    metadata: Message
    sha256: str

    @property
    def licence(self) -> str:
        """As it states it: an SPDX expression, or what else there is; empty: nothing."""
        stated = self.metadata["License-Expression"] or self.metadata["License"] or ""
        if not stated or "\n" in stated or len(stated) > 100:
            classifiers = self.metadata.get_all("Classifier") or []
            found = [c.rpartition(" :: ")[2] for c in classifiers if c.startswith("License")]
            stated = "; ".join(found) or stated.strip().partition("\n")[0]
        return str(stated).strip()

    def needs(self, environment: Mapping[str, str], extras: Sequence[str] = ()) -> set[str]:
        """Names of the packages that it asks for there, with these of its extras."""
        asked = (Requirement(text) for text in self.metadata.get_all("Requires-Dist") or [])
        return {
            canonicalize_name(one.name)
            for one in asked
            if one.marker is None
            or any(one.marker.evaluate({**environment, "extra": e}) for e in ("", *extras))
        }


def read_wheel(path: Path) -> Wheel:
    name, version, _, tags = parse_wheel_filename(path.name)
    with zipfile.ZipFile(path) as archive:
        inside = next(n for n in archive.namelist() if n.endswith(".dist-info/METADATA"))
        metadata = BytesParser().parsebytes(archive.read(inside))
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    return Wheel(path, str(name), str(version), tags, metadata, sha256)


def licence_texts(wheel: Wheel) -> list[tuple[str, str]]:
    """File name and text of each licence in the wheel."""
    with zipfile.ZipFile(wheel.path) as archive:
        return [
            (name, archive.read(name).decode("utf-8", "replace"))
            for name in sorted(archive.namelist())
            if LICENCE.match(PurePosixPath(name).name)
            and PurePosixPath(name).suffix not in (".py", ".pyi", ".json", ".h")
        ]


def unpacked_bytes(wheel: Wheel) -> int:
    """Room that it takes once it is installed, its modules compiled."""
    with zipfile.ZipFile(wheel.path) as archive:
        sizes = [(info.filename, info.file_size) for info in archive.infolist()]
    compiled = sum(size for name, size in sizes if name.endswith(".py"))
    return sum(size for _, size in sizes) + int(COMPILED_SHARE * compiled)


def least_glibc(wheel: Wheel) -> int:
    """The y of the newest GLIBC_2.y that its libraries ask for."""
    with zipfile.ZipFile(wheel.path) as archive:
        libraries = [n for n in archive.namelist() if ".so" in PurePosixPath(n).suffixes]
        return max(
            (int(minor) for name in libraries for minor in GLIBC.findall(archive.read(name))),
            default=0,
        )


def write_anew(
    wheel: Path,
    folder: Path,
    *,
    without: re.Pattern[str] = re.compile(r"(?!)"),
    added: Mapping[str, bytes] | None = None,
    mark: str = "",
) -> Path:
    """The wheel in `folder`: members sorted, without times, without those that match `without`,
    with those `added`; `mark` is put to its version as its local part (PEP 440)."""
    with zipfile.ZipFile(wheel) as archive:
        members = {n: archive.read(n) for n in archive.namelist() if not n.endswith("/")}
    members = {name: data for name, data in members.items() if not without.search(name)}
    members.update(added or {})
    info = next(name for name in members if name.endswith(".dist-info/METADATA"))
    before = info.removesuffix("/METADATA")
    after = before.replace(".dist-info", f"+{mark}.dist-info") if mark else before
    members = {re.sub(rf"^{re.escape(before)}/", f"{after}/", n): d for n, d in members.items()}
    if mark:
        metadata = members[f"{after}/METADATA"]
        members[f"{after}/METADATA"] = re.sub(
            rb"(?m)^(Version: \S+)$", rb"\1+" + mark.encode(), metadata, count=1
        )
    record = f"{after}/RECORD"
    members.pop(record, None)
    rows = [f"{name},sha256={_hash(data)},{len(data)}\n" for name, data in sorted(members.items())]
    members[record] = "".join([*rows, f"{record},,\n"]).encode()
    name = wheel.name
    if mark:
        project, version, rest = wheel.name.split("-", 2)
        name = f"{project}-{version}+{mark}-{rest}"
    with zipfile.ZipFile(folder / name, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as archive:
        for member in sorted(members):
            entry = zipfile.ZipInfo(member, ZIP_EPOCH)
            entry.external_attr = 0o100644 << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, members[member])
    return folder / name


def _hash(data: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
