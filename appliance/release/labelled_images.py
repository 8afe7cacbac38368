"""A site's own labelled pictures: a CSV `path,label[,group]`, or a folder with one subfolder a
label. Every row is looked at before the model is asked anything; what cannot be used is listed."""

import csv
import hashlib
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from appliance.core.labels import LabelSet
from appliance.errors import ConfigError

MOST_BYTES = 64 << 20
MOST_ROWS = 1_000_000
COLUMNS = "path,label and, if pictures belong together, group"


@dataclass(frozen=True)
class LabelledImage:
    path: Path
    label: str
    group: str
    """Pictures of one patient share it; a picture without one is its own."""
    sha256: str
    """Of the file's bytes."""


@dataclass(frozen=True)
class LeftOut:
    """A row that cannot be used."""

    row: str
    """Where it stands: a line of the CSV or a file."""
    reason: str


@dataclass(frozen=True)
class _Row:
    where: str
    path: Path
    label: str
    group: str


def read_labelled(
    source: Path, labels: LabelSet, say: Callable[[str], None]
) -> tuple[list[LabelledImage], list[LeftOut]]:
    """Every row's picture, or why it is left out; together they are all rows.

    Raises: ConfigError when the source itself cannot be used.
    """
    rows = list(_folder_rows(source) if source.is_dir() else _csv_rows(source))
    found: list[tuple[_Row, str]] = []
    left_out = []
    for number, row in enumerate(rows, 1):
        say(f"checking the pictures: {number} of {len(rows)}")
        if row.label not in labels.names:
            left_out.append(LeftOut(row.where, f"no label of this release: {row.label!r}"))
            continue
        try:
            with row.path.open("rb") as file:
                found.append((row, hashlib.file_digest(file, "sha256").hexdigest()))
        except (OSError, ValueError) as exc:
            reason = getattr(exc, "strerror", None) or str(exc)
            left_out.append(LeftOut(row.where, f"cannot be read ({reason}): {row.path}"))
    labels_of: dict[str, set[str]] = {}
    for row, sha256 in found:
        labels_of.setdefault(sha256, set()).add(row.label)
    images: dict[str, LabelledImage] = {}
    for row, sha256 in found:
        if len(labels_of[sha256]) > 1:
            names = ", ".join(sorted(labels_of[sha256]))
            left_out.append(LeftOut(row.where, f"the same picture has several labels: {names}"))
        elif sha256 in images:
            left_out.append(LeftOut(row.where, f"the same picture as {images[sha256].path}"))
        else:
            images[sha256] = LabelledImage(row.path, row.label, row.group or sha256, sha256)
    return list(images.values()), left_out


def write_left_out(path: Path, left_out: Sequence[LeftOut]) -> Path:
    """All of them as CSV, readable by this user alone. Raises: ConfigError."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8", errors="replace", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(("row", "reason"))
            rows.writerows((one.row, one.reason) for one in left_out)
    except OSError as exc:
        raise ConfigError(
            f"the list of what was left out cannot be written ({exc.strerror}): {path}",
            "make room, and check the folder's permissions",
        ) from exc
    return path


def split_in_half(
    images: list[LabelledImage], labels: LabelSet
) -> tuple[list[LabelledImage], list[LabelledImage]]:
    """Pictures to calibrate on and pictures to measure on, always the same for the same pictures.

    A group stays whole. Groups are taken in the order of their hash, each to the half that has
    fewer pictures of its label, then of its domain.
    """
    groups: dict[str, list[LabelledImage]] = {}
    for image in images:
        groups.setdefault(image.group, []).append(image)
    halves: tuple[list[LabelledImage], list[LabelledImage]] = ([], [])
    counts: tuple[Counter[str], Counter[str]] = (Counter(), Counter())
    for name in sorted(groups, key=lambda name: hashlib.sha256(name.encode()).digest()):
        inside = groups[name]
        label = Counter(image.label for image in inside).most_common(1)[0][0]
        domain = labels.domain_of(label)
        half = min((0, 1), key=lambda half: (counts[half][label], counts[half][domain], half))
        halves[half].extend(inside)
        for image in inside:
            counts[half].update((image.label, labels.domain_of(image.label)))
    return halves


def _folder_rows(folder: Path) -> Iterator[_Row]:
    try:
        for inside in sorted(path for path in folder.iterdir() if path.is_dir()):
            label = _label(inside.name.replace("_", " "))
            for path in sorted(inside.iterdir()):
                if path.is_file() and not path.name.startswith("."):
                    yield _Row(str(path), path, label, "")
    except OSError as exc:
        raise ConfigError(
            f"the folder cannot be read ({exc.strerror}): {folder}", "check its permissions"
        ) from exc


def _csv_rows(source: Path) -> Iterator[_Row]:
    text = _text(source)
    opening = text.partition("\n")[0]
    delimiter = ";" if opening.count(";") > opening.count(",") else ","  # as some Excels write
    reader = csv.reader(text.splitlines(keepends=True), delimiter=delimiter)
    try:
        columns = [name.strip().lower() for name in next(reader, [])]
        if not {"path", "label"} <= set(columns):
            raise ConfigError(
                f"the list of pictures has no columns path and label: {source}",
                f"name the columns in its first line: {COLUMNS}",
            )
        for number, cells in enumerate(reader):
            if number >= MOST_ROWS:
                raise ConfigError(
                    f"the list has more than {MOST_ROWS:,} rows: {source}", "give a shorter one"
                )
            if not any(cell.strip() for cell in cells):
                continue
            row = dict(zip(columns, (cell.strip() for cell in cells), strict=False))
            yield _Row(
                f"line {reader.line_num}",
                source.parent / row.get("path", ""),
                _label(row.get("label", "")),
                row.get("group", ""),
            )
    except csv.Error as exc:
        raise ConfigError(
            f"the list of pictures cannot be read ({exc}, line {reader.line_num}): {source}",
            f"write it as CSV with the columns {COLUMNS}",
        ) from exc


def _text(source: Path) -> str:
    try:
        with source.open("rb") as file:
            encoded = file.read(MOST_BYTES + 1)
        if len(encoded) > MOST_BYTES:
            raise ConfigError(
                f"the list of pictures has more than {MOST_BYTES:,} bytes: {source}",
                "give a CSV of paths and labels",
            )
        return encoded.decode("utf-8-sig")
    except OSError as exc:
        raise ConfigError(
            f"the list of pictures cannot be read ({exc.strerror}): {source}", "check the path"
        ) from exc
    except UnicodeDecodeError as exc:
        raise ConfigError(
            f"the list of pictures is not UTF-8 text: {source}", "save it as CSV in UTF-8"
        ) from exc


def _label(text: str) -> str:
    return " ".join(text.lower().split())
