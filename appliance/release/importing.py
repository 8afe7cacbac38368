"""Wrapping a GGUF pair that someone else made as a release of this home.

Checked by its headers, copied, tried on drawings, described, and only then renamed into place: a
kill at any time leaves no release, and the next import clears what it left.
"""

import errno
import fcntl
import hashlib
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from appliance.core.decision import UNMEASURED
from appliance.core.labels import DOMAINS, LabelSet
from appliance.core.prompt import LISTING_VERSION, PROMPT_VERSION
from appliance.errors import ConfigError, ModelError, ModelFileError, ReleaseError
from appliance.private_files import sync_folder
from appliance.release.bases import check_base, terms
from appliance.release.box import OpenCaptioner, this_machine
from appliance.release.drawings import draw
from appliance.release.gguf_header import GgufHeader, read_gguf_header
from appliance.release.gguf_pair import PairFacts, check_pair
from appliance.release.label_list import default_labels
from appliance.release.manifest import (
    FORMAT,
    MODEL,
    PROJECTOR,
    Release,
    ReleaseFile,
    read_release,
    write_manifest,
)
from appliance.release.shelf import BUILT_IN, DEMONSTRATION, PARTIAL
from appliance.release.trial import Trial, try_pair

Say = Callable[[str], None]

RELEASE_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,79}")
PIECE_BYTES = 4 << 20
SPARE_BYTES = 64 << 20
"""Left free on the disk, so that the log can still be written."""
INTENDED_USE = (
    "Trial of a model that others made and that was not fine-tuned for this appliance. Not a "
    "medical device; not for clinical use."
)


@dataclass(frozen=True)
class Wanted:
    """What is to be imported, and as what."""

    model: Path
    projector: Path
    base: str
    name: str
    """Of the release; empty: made of the base and the quantization."""
    labels: LabelSet
    lists_labels: bool
    """Whether the prompt names the labels: a model that was not taught them must be told."""


def import_pair(
    wanted: Wanted,
    folder: Path,
    open_captioner: OpenCaptioner,
    threads: int,
    today: str,
    say: Say,
) -> Release:
    """The new release in `folder`, dated `today` (ISO 8601).

    Raises: ModelFileError when the files are not a pair that runs here, ConfigError.
    """
    say("checking the files")
    model, projector = read_gguf_header(wanted.model), read_gguf_header(wanted.projector)
    facts = check_pair(model, projector)
    check_base(wanted.base, model, facts)
    name = _release_name(wanted, facts)
    target = folder / name
    with _alone(folder):
        if target.exists():
            raise ConfigError(
                f"there is a release of that name: {target}", "give another name with --name"
            )
        aside = folder / (name + PARTIAL)
        _refuse_beyond_memory(model.size_bytes + projector.size_bytes)
        _clear(folder, aside)
        try:
            _refuse_little_room(folder, model.size_bytes + projector.size_bytes)
            files = _copy(aside, {MODEL: model, PROJECTOR: projector}, say)
            copied = check_pair(
                read_gguf_header(aside / MODEL), read_gguf_header(aside / PROJECTOR)
            )
            if copied != facts:
                raise ModelFileError(
                    "the files changed while they were copied", "import them again"
                )
            manifest = _manifest(wanted, name, facts, files, today)
            trial = _try(aside, manifest, open_captioner, threads, say)
            manifest["imported"]["trial"] = trial.as_manifest()
            write_manifest(aside, manifest)
            aside.rename(target)
        except BaseException:
            shutil.rmtree(aside, ignore_errors=True)
            raise
        sync_folder(folder)
    return read_release(target)


def _try(
    aside: Path, manifest: dict[str, Any], open_captioner: OpenCaptioner, threads: int, say: Say
) -> Trial:
    """The drawings are of kinds that the demonstration's labels cover; a site's own list is loaded
    too, since a list whose labels cannot be told apart by their tokens does not run."""
    usual = [asdict(label) for label in default_labels()]
    if manifest["labels"] != usual:
        write_manifest(aside, manifest)
        with open_captioner(read_release(aside), threads, "ggml") as captioner:
            say("trying the label list on a drawing")
            try:
                captioner.read(draw(DOMAINS[0], 0, captioner.release.image_size))
            except (ModelError, ReleaseError) as exc:
                raise ConfigError(
                    f"the label list does not run with this model: {exc.message}",
                    "leave --labels out to see whether the pair runs, then shorten the list",
                ) from exc
    write_manifest(aside, {**manifest, "labels": usual})
    with open_captioner(read_release(aside), threads, "ggml") as captioner:
        return try_pair(captioner, say)


def _manifest(
    wanted: Wanted, name: str, facts: PairFacts, files: Mapping[str, ReleaseFile], today: str
) -> dict[str, Any]:
    shipped = read_release(BUILT_IN)
    is_demonstration = any(shipped.files[file].sha256 == files[file].sha256 for file in files)
    known_terms = (
        "as the demonstration release that ships with the appliance"
        if is_demonstration
        else terms(wanted.base, facts)
    )
    return {
        "format": FORMAT,
        "name": name,
        "version": f"imported-{today}",
        "demonstration": is_demonstration,
        "intended_use": INTENDED_USE,
        "files": {file: asdict(found) for file, found in files.items()},
        "base_model": {"name": wanted.base, **facts.as_manifest()},
        "adapter": None,
        "fine_tuned": False,
        "data": [{"name": wanted.base, "terms": known_terms}],
        "image_size": facts.image_size,
        "prompt_version": LISTING_VERSION if wanted.lists_labels else PROMPT_VERSION,
        "labels": [asdict(label) for label in wanted.labels],
        "calibration": asdict(UNMEASURED),
        "evaluation": None,
        "agreement": None,
        "measured": None,
        "licences": [f"Weights: {known_terms}"],
        "imported": {
            "date": today,
            "model": wanted.model.name,
            "projector": wanted.projector.name,
        },
    }


def _release_name(wanted: Wanted, facts: PairFacts) -> str:
    name = wanted.name or f"{wanted.base}-{facts.quantization}".lower()
    if not RELEASE_NAME.fullmatch(name) or name == DEMONSTRATION or name.endswith(PARTIAL):
        raise ConfigError(
            f"not a name for a release: {name!r}",
            "give --name with small letters, digits, dots, `_` or `-`",
        )
    return name


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Holds the folder, so that no other import clears what this one is writing."""
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        held = os.open(folder, os.O_RDONLY)
    except OSError as exc:
        raise _unwritable(folder, exc) from exc
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError as exc:
        raise ConfigError(
            f"another import is at work in {folder}", "wait until it is done, then import again"
        ) from exc
    finally:
        os.close(held)


def _clear(folder: Path, aside: Path) -> None:
    """Away with what killed imports left; an empty folder for this one."""
    try:
        for left in folder.glob(f"*{PARTIAL}"):
            shutil.rmtree(left)
        aside.mkdir()
    except OSError as exc:
        raise _unwritable(folder, exc) from exc


def _unwritable(folder: Path, exc: OSError) -> ConfigError:
    return ConfigError(
        f"the releases folder cannot be written ({exc.strerror}): {folder}",
        "check the folder's permissions, or set APPLIANCE_HOME",
    )


def _refuse_beyond_memory(size_bytes: int) -> None:
    memory_bytes = this_machine().memory_bytes
    if size_bytes > memory_bytes:
        raise ConfigError(
            f"the pair has {size_bytes / 1e9:.1f} GB and this machine {memory_bytes / 1e9:.1f} GB "
            "of memory: it would be read from the disk again for every picture",
            "import a smaller quantization",
        )


def _refuse_little_room(folder: Path, wanted_bytes: int) -> None:
    free_bytes = shutil.disk_usage(folder).free
    if wanted_bytes + SPARE_BYTES > free_bytes:
        raise ConfigError(
            f"the pair needs {(wanted_bytes + SPARE_BYTES) / 1e9:.2f} GB and {folder} has "
            f"{free_bytes / 1e9:.2f} GB free",
            "make room, or set APPLIANCE_HOME to a folder on a larger disk",
        )


def _copy(aside: Path, sources: Mapping[str, GgufHeader], say: Say) -> dict[str, ReleaseFile]:
    """Each file, hashed as it passes."""
    total = sum(header.size_bytes for header in sources.values())
    done = 0
    files = {}
    for name, header in sources.items():
        digest, size_bytes = hashlib.sha256(), 0
        try:
            with header.path.open("rb") as source, (aside / name).open("xb") as target:
                while piece := source.read(PIECE_BYTES):
                    target.write(piece)
                    digest.update(piece)
                    size_bytes += len(piece)
                    done += len(piece)
                    say(f"copying {done / 1e9:.2f} of {total / 1e9:.2f} GB")
                target.flush()
                os.fsync(target.fileno())
        except OSError as exc:
            hint = "copy the files to a disk of this machine first"
            if exc.errno in (errno.ENOSPC, errno.EDQUOT):
                hint = "make room, or set APPLIANCE_HOME to a folder on a larger disk"
            raise ModelFileError(
                f"the file could not be copied ({exc.strerror}): {header.path}", hint
            ) from exc
        files[name] = ReleaseFile(digest.hexdigest(), size_bytes)
    return files
