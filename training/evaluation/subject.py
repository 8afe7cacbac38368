"""The model under test: a release directory for llama.cpp, or a Hugging Face folder with or without
an adapter. Both answer the same questions."""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from appliance.core.labels import DOMAINS, Domain, LabelSet
from appliance.core.prompt import PROMPT_VERSION
from appliance.release.manifest import MANIFEST, Release, hash_file, read_release
from training.adapted import require_trained_on
from training.evaluation.answered import EvaluationError
from training.evaluation.asking import Answer, ask_model, ask_release
from training.evaluation.questions import Question
from training.labels import label_set

Ask = Callable[[Sequence[Question]], Iterator[Answer]]


@dataclass(frozen=True)
class Subject:
    name: str
    sha256: str
    """Of all its files."""
    labels: LabelSet
    temperatures: Mapping[Domain, float]
    """By domain: divides the label scores before they become probabilities."""
    prompt_version: int
    open: Callable[[], AbstractContextManager[Ask]]


def read_subject(
    model: Path, adapter: Path | None, threads: int, *, full_precision: bool = False
) -> Subject:
    """What is at `model`; its weights are not loaded yet. `threads` are a release's,
    `full_precision` is a Hugging Face model's, also on a GPU.

    Raises: EvaluationError when it is neither kind; ReleaseError for a release that is amiss;
    BaseModelError for an adapter of another base.
    """
    if (model / MANIFEST).is_file():
        if adapter is not None:
            raise EvaluationError(
                f"an adapter goes on a Hugging Face model, and this is a release: {model}; "
                "name the model it was trained on"
            )
        release = read_release(model)
        card = release.card
        return Subject(
            name=model.resolve().name,
            sha256=card.sha256,  # of the manifest, which declares the hash of every other file
            labels=card.labels,
            temperatures=card.calibration.temperatures,
            prompt_version=card.prompt_version,
            open=lambda: _open_release(release, threads),
        )
    if not (model / "config.json").is_file():
        raise EvaluationError(
            f"no model: {model}; name a release (it has {MANIFEST}) or a Hugging Face folder "
            "(it has config.json)"
        )
    if adapter is not None and not (adapter / "adapter_config.json").is_file():
        raise EvaluationError(
            f"no adapter: {adapter}; name the folder with adapter_config.json that `qlora` wrote"
        )
    if adapter is not None:
        require_trained_on(model, adapter)
    folders = [model] if adapter is None else [model, adapter]
    return Subject(
        name="+".join(folder.resolve().name for folder in folders),
        sha256=_hash_folders(folders),
        labels=label_set(),
        temperatures=dict.fromkeys(DOMAINS, 1.0),
        prompt_version=PROMPT_VERSION,
        open=lambda: _open_model(model, adapter, full_precision),
    )


@contextmanager
def _open_release(release: Release, threads: int) -> Iterator[Ask]:
    from appliance.wiring import open_captioner

    with open_captioner(release, threads) as captioner:
        yield lambda questions: ask_release(captioner, questions)


@contextmanager
def _open_model(model: Path, adapter: Path | None, full_precision: bool) -> Iterator[Ask]:
    yield lambda questions: ask_model(
        model, label_set(), questions, adapter=adapter, full_precision=full_precision
    )


def _hash_folders(folders: Sequence[Path]) -> str:
    """Of the names and contents of the files right in each folder, hidden ones aside."""
    total = hashlib.sha256()
    for folder in folders:
        for file in sorted(folder.iterdir()):
            if file.is_file() and not file.name.startswith("."):
                total.update(f"{file.name} {hash_file(file)}\n".encode())
        total.update(b"\n")
    return total.hexdigest()
