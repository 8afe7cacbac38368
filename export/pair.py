"""A folder with one GGUF pair and pair.json, which says what made it and what its files are.

    python -m export gguf MODEL OUT

Knows how such a folder is written and read; not how weights become GGUF, nor what a release is.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from appliance.release.manifest import MODEL, PROJECTOR, ReleaseFile, hash_file
from export.aside import refuse_existing, written_aside
from export.checkpoint import read_checkpoint
from export.errors import ExportError
from export.text_gguf import write_text_gguf
from export.vision_gguf import write_vision_gguf
from training.checkpoint import weights_hash

TextKind = Literal["F16", "Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M"]
"""llama.cpp's names; the K kinds are mixes, with some tensors at more bits."""
ProjectorKind = Literal["F16", "Q8_0"]
DESCRIPTION = "pair.json"
FORMAT = 1


@dataclass(frozen=True)
class Fallback:
    """A tensor whose rows are no whole blocks of the type that the mix wanted for it."""

    name: str
    columns: int
    wanted: str
    given: str

    def __str__(self) -> str:
        return (
            f"{self.name}: {self.columns} columns are no whole blocks of {self.wanted}: "
            f"{self.given} instead"
        )


@dataclass(frozen=True)
class PairSource:
    """What a pair was made of, and how."""

    weights_sha256: str
    """Of the Hugging Face folder, as training.checkpoint.weights_hash counts it."""
    text: TextKind
    projector: ProjectorKind
    importance_sha256: str | None
    """Of the importance matrix's file, where there was one."""
    fallbacks: tuple[Fallback, ...]


@dataclass(frozen=True)
class Pair:
    """A folder whose two files are those that its pair.json declares."""

    folder: Path
    source: PairSource
    files: Mapping[str, ReleaseFile]

    @property
    def model(self) -> Path:
        return self.folder / MODEL

    @property
    def projector(self) -> Path:
        return self.folder / PROJECTOR


def write_pair(model: Path, out: Path, name: str, say: Callable[[str], None]) -> Pair:
    """The model of a Hugging Face folder at F16, as `name`, in the new folder `out`.

    Raises: ExportError, and then there is nothing at `out`.
    """
    refuse_existing(out)
    checkpoint = read_checkpoint(model)
    say(f"hashing {model}")
    source = PairSource(weights_hash(model), "F16", "F16", None, ())
    with written_aside(out) as aside:
        say(f"writing {MODEL}")
        write_text_gguf(checkpoint, aside / MODEL, name)
        say(f"writing {PROJECTOR}")
        write_vision_gguf(checkpoint, aside / PROJECTOR, name)
        files = describe(aside, source)
    return Pair(out, source, files)


def read_pair(folder: Path) -> Pair:
    """Raises: ExportError when there is no pair, or a file is not the one declared."""
    path = folder / DESCRIPTION
    try:
        source, files = _described(json.loads(path.read_text(encoding="utf-8")))
    except OSError as exc:
        raise ExportError(
            f"{path}: cannot be read ({exc.strerror}); make the pair with `python -m export gguf`"
        ) from exc
    except (ValueError, KeyError, TypeError, AttributeError) as exc:
        raise ExportError(
            f"{path}: describes no pair ({type(exc).__name__}: {exc}); copy the folder again"
        ) from exc
    for name, declared in files.items():
        file = folder / name
        try:
            is_declared = file.stat().st_size == declared.size_bytes
            is_declared = is_declared and hash_file(file) == declared.sha256
        except OSError as exc:
            raise ExportError(
                f"{file}: cannot be read ({exc.strerror}); copy the folder again"
            ) from exc
        if not is_declared:
            raise ExportError(f"{file}: is not the file that {DESCRIPTION} declares; copy it again")
    return Pair(folder, source, files)


def describe(folder: Path, source: PairSource) -> dict[str, ReleaseFile]:
    """Write pair.json beside the two files, last of all; returns what it declares of them."""
    files = {
        name: ReleaseFile(hash_file(folder / name), (folder / name).stat().st_size)
        for name in (MODEL, PROJECTOR)
    }
    declared = {name: asdict(file) for name, file in files.items()}
    text = json.dumps({"format": FORMAT, **asdict(source), "files": declared}, indent=1)
    (folder / DESCRIPTION).write_text(text + "\n", encoding="utf-8")
    return files


def _described(said: dict[str, Any]) -> tuple[PairSource, dict[str, ReleaseFile]]:
    if said["format"] != FORMAT:
        raise ValueError(f"format {said['format']!r}, expected {FORMAT}")
    if said["text"] not in get_args(TextKind) or said["projector"] not in get_args(ProjectorKind):
        raise ValueError(f"unknown kinds {said['text']!r} and {said['projector']!r}")
    source = PairSource(
        weights_sha256=str(said["weights_sha256"]),
        text=said["text"],
        projector=said["projector"],
        importance_sha256=said["importance_sha256"],
        fallbacks=tuple(Fallback(**row) for row in said["fallbacks"]),
    )
    rows = {name: said["files"][name] for name in (MODEL, PROJECTOR)}
    return source, {
        name: ReleaseFile(str(row["sha256"]), int(row["size_bytes"])) for name, row in rows.items()
    }
