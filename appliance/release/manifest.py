"""release.json: what a release directory declares of itself, and whether its files are those.

Owns reading, writing and verifying. Nothing of a release is given to another library before
`verify`.
"""

import hashlib
import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from appliance.core.decision import RISKS, Calibration
from appliance.core.gate import read_gate
from appliance.core.labels import DOMAINS, Label, LabelSet
from appliance.core.ports import ReleaseCard
from appliance.core.prompt import LISTING_VERSION, PROMPT_VERSION
from appliance.core.scope import read_scope
from appliance.errors import ConfigError, ReleaseError

MANIFEST = "release.json"
MODEL = "model.gguf"
PROJECTOR = "mmproj.gguf"
ENCODER = "encoder.onnx"
ENCODER_INT8 = "encoder.int8.onnx"
ENCODER_REPORT = "encoder.json"
VISION_ENCODERS = {"ggml": PROJECTOR, "onnx": ENCODER, "onnx-int8": ENCODER_INT8}
"""What turns a picture into soft tokens, and the file it needs."""
PHRASES = "phrases.jsonl"
MOST_PHRASES = 300
"""Captions that a release carries for the engine to guess from."""
MOST_PHRASES_BYTES = 1 << 20
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

    @property
    def encoder(self) -> str:
        """The vision encoder that it was measured with; used unless a site sets another."""
        return str(self.manifest.get("vision_encoder", "ggml"))


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
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as exc:
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


def encoder_file(release: Release, encoder: str) -> Path:
    """Of the vision encoder with that name; empty: the release's own. Raises: ConfigError for a
    name that is none; ReleaseError when the release does not carry it."""
    encoder = encoder or release.encoder
    if encoder not in VISION_ENCODERS:
        raise ConfigError(
            f"no such vision encoder `{encoder}`",
            "set `encoder` to " + " or ".join(VISION_ENCODERS),
        )
    if VISION_ENCODERS[encoder] not in release.files:
        there = [name for name, file in VISION_ENCODERS.items() if file in release.files]
        raise ReleaseError(
            f"the release {release.name} has no vision encoder `{encoder}`",
            "set `encoder` to " + " or ".join(there),
        )
    return release.directory / VISION_ENCODERS[encoder]


def read_phrases(release: Release) -> list[str]:
    """Captions that the release wrote when it was measured, the most frequent first; none if it
    carries none. Raises: ReleaseError."""
    if PHRASES not in release.files:
        return []
    path = release.directory / PHRASES
    try:
        if path.stat().st_size > MOST_PHRASES_BYTES:
            raise ReleaseError(f"the release's phrase bank is too large: {path}", COPY_AGAIN)
        return path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as exc:
        raise ReleaseError(f"the phrase bank cannot be read ({exc}): {path}", COPY_AGAIN) from exc


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


def refuse_unmeasured_risk(release: Release, risk: float) -> None:
    """Raises: ConfigError when the release was measured, but in no domain for this risk target."""
    by_domain = release.card.calibration.thresholds.values()
    if (known := sorted({each for by_risk in by_domain for each in by_risk})) and risk not in known:
        raise ConfigError(
            f"release {release.name} was not measured on enough pictures for a risk of {risk:g}",
            f"set `risk` to {known[0]:g} to {known[-1]:g}, or measure it on more pictures",
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
    encoder = manifest.get("vision_encoder", "ggml")
    if VISION_ENCODERS.get(encoder) not in files:
        raise ValueError(f"it is measured with the vision encoder {encoder!r}, which it lacks")
    labels = LabelSet(tuple(Label(row["name"], row["domain"]) for row in manifest["labels"]))
    if any(label.domain not in DOMAINS for label in labels):
        raise ValueError("a label has an unknown domain")
    if missing := {"intended_use", "data", "evaluation"} - set(manifest):
        raise ValueError(f"it does not say its {', '.join(sorted(missing))}")
    card = ReleaseCard(
        name=str(manifest["name"]),
        sha256=sha256,
        demonstration=manifest["demonstration"] is not False,
        labels=labels,
        calibration=_calibration(manifest["calibration"]),
        image_size=int(manifest["image_size"]),
        prompt_version=manifest["prompt_version"],
        scope=read_scope(manifest["scope"]) if "scope" in manifest else None,
        gate=read_gate(manifest.get("gate")),
    )
    return Release(directory, str(manifest["version"]), card, files, manifest)


def _calibration(said: dict[str, Any]) -> Calibration:
    temperatures = {domain: float(said["temperatures"][domain]) for domain in DOMAINS}
    thresholds = {
        domain: {float(risk): float(least) for risk, least in said["thresholds"][domain].items()}
        for domain in DOMAINS
    }
    least = [value for by_risk in thresholds.values() for value in by_risk.values()]
    if not (
        all(0 < value < math.inf for value in temperatures.values())
        and all(0 < value <= 1 for value in least)
        and all(risk in RISKS for by_risk in thresholds.values() for risk in by_risk)
    ):
        raise ValueError("the calibration is out of range")
    return Calibration(temperatures, thresholds)
