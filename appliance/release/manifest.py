"""release.json: what a release directory declares of itself, and whether its files are those.

Owns reading, writing and verifying. Nothing of a release is given to another library before
`verify`.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from appliance.core.decision import Calibration
from appliance.core.labels import DOMAINS, Label, LabelSet
from appliance.core.ports import ReleaseCard
from appliance.core.prompt import LISTING_VERSION, PROMPT_VERSION
from appliance.errors import ReleaseError

MANIFEST = "release.json"
MODEL = "model.gguf"
PROJECTOR = "mmproj.gguf"
FORMAT = 1
MOST_MANIFEST_BYTES = 4 << 20
COPY_AGAIN = "copy the release again from where it came"


@dataclass(frozen=True)
class ReleaseFile:
    sha256: str
    size_bytes: int


@dataclass(frozen=True)
class Release:
    """A release directory whose manifest reads well; its files are checked by `verify`."""

    directory: Path
    version: str
    card: ReleaseCard
    files: Mapping[str, ReleaseFile]
    manifest: Mapping[str, Any]
    """The whole of release.json."""

    @property
    def name(self) -> str:
        return self.card.name

    @property
    def model(self) -> Path:
        return self.directory / MODEL

    @property
    def projector(self) -> Path:
        return self.directory / PROJECTOR


def read_release(directory: Path) -> Release:
    """Raises: ReleaseError when there is none, or its manifest cannot be used."""
    path = directory / MANIFEST
    try:
        if path.stat().st_size > MOST_MANIFEST_BYTES:
            raise ReleaseError(f"the release manifest is too large: {path}", COPY_AGAIN)
        encoded = path.read_bytes()
    except OSError as exc:
        raise ReleaseError(
            f"no model release ({exc.strerror}): {path}",
            "run `appliance release list` and choose one that is there",
        ) from exc
    try:
        manifest = json.loads(encoded)
        release = _release(directory, manifest, hashlib.sha256(encoded).hexdigest())
        prompt_version = manifest["prompt_version"]
    except (ValueError, KeyError, TypeError, AttributeError) as exc:
        raise ReleaseError(
            f"the release manifest cannot be read ({type(exc).__name__}: {exc}): {path}", COPY_AGAIN
        ) from exc
    if prompt_version not in (PROMPT_VERSION, LISTING_VERSION):
        raise ReleaseError(
            f"the release was made for prompt {prompt_version}, "
            f"this appliance speaks {PROMPT_VERSION} and {LISTING_VERSION}: {path}",
            "install the appliance version that the release came with",
        )
    return release


def verify(release: Release) -> None:
    """Raises: ReleaseError at the first file that is missing or is not the one declared."""
    for name, declared in release.files.items():
        path = release.directory / name
        try:
            size_bytes, sha256 = path.stat().st_size, hash_file(path)
        except OSError as exc:
            raise ReleaseError(
                f"a file of the release cannot be read ({exc.strerror}): {path}", COPY_AGAIN
            ) from exc
        if (size_bytes, sha256) != (declared.size_bytes, declared.sha256):
            raise ReleaseError(
                f"a file of the release is not the one its manifest declares: {path}", COPY_AGAIN
            )


def write_manifest(directory: Path, manifest: Mapping[str, Any]) -> None:
    """Aside first, then renamed: there is always a whole one. Raises: ReleaseError."""
    path = directory / MANIFEST
    aside = path.with_name(MANIFEST + ".partial")
    text = json.dumps(manifest, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    try:
        with aside.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        aside.rename(path)
    except OSError as exc:
        raise ReleaseError(
            f"the release manifest cannot be written ({exc.strerror}): {path}",
            "make room, and check the folder's permissions",
        ) from exc


def hash_file(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _release(directory: Path, manifest: dict[str, Any], sha256: str) -> Release:
    if manifest["format"] != FORMAT:
        raise ValueError(f"format {manifest['format']!r}, expected {FORMAT}")
    files = {
        name: ReleaseFile(str(entry["sha256"]), int(entry["size_bytes"]))
        for name, entry in manifest["files"].items()
    }
    if not {MODEL, PROJECTOR} <= set(files):
        raise ValueError(f"it must declare {MODEL} and {PROJECTOR}")
    for name in files:
        if Path(name).name != name or name == MANIFEST:
            raise ValueError(f"not a file name of a release: {name!r}")
    labels = LabelSet(tuple(Label(row["name"], row["domain"]) for row in manifest["labels"]))
    if any(label.domain not in DOMAINS for label in labels):
        raise ValueError("a label has an unknown domain")
    calibration = manifest["calibration"]
    if not (
        float(calibration["temperature"]) > 0
        and all(0 <= float(calibration["thresholds"][domain]) <= 1 for domain in DOMAINS)
    ):
        raise ValueError("the calibration is out of range")
    if missing := {"intended_use", "data", "evaluation"} - set(manifest):
        raise ValueError(f"it does not say its {', '.join(sorted(missing))}")
    card = ReleaseCard(
        name=str(manifest["name"]),
        sha256=sha256,
        demonstration=manifest["demonstration"] is not False,
        labels=labels,
        calibration=Calibration(
            temperature=float(calibration["temperature"]),
            risk=float(calibration["risk"]),
            thresholds={domain: float(calibration["thresholds"][domain]) for domain in DOMAINS},
        ),
        image_size=int(manifest["image_size"]),
        prompt_version=manifest["prompt_version"],
    )
    return Release(directory, str(manifest["version"]), card, files, manifest)
