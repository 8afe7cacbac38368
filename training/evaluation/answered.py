"""answers.jsonl: what a model said of each image, kept as it comes.

The first line says which model was asked about which split; each further line is one image. An
evaluation that was killed goes on after its last whole line. Later readers (comparison, report,
judge) need neither the model nor the images.
"""

import fcntl
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import IO, Any

import numpy as np

from appliance.core.caption import CaptionFormatError, parse_caption
from appliance.core.labels import Domain, Label, LabelSet
from training.datasets import Split
from training.evaluation.asking import Answer
from training.evaluation.questions import Question
from training.measured.caption import Checked, confirmed
from training.measured.frame import SIDE

ANSWERS = "answers.jsonl"
KIND = "answers"


class EvaluationError(Exception):
    """An evaluation that cannot be made, resumed, read or compared; the message says what to do."""


@dataclass(frozen=True)
class Header:
    """The first line: what was asked of what."""

    model: str
    model_sha256: str
    """Of the model's files."""
    split: Split
    images: int
    """How many are asked about, answered or not yet."""
    labels: tuple[str, ...]
    domains: tuple[Domain, ...]
    """Of each label."""
    temperatures: Mapping[Domain, float]
    """By domain: divides the label scores before they become probabilities; 1 for a model without
    any."""
    prompt_version: int

    @property
    def label_set(self) -> LabelSet:
        return LabelSet(tuple(map(Label, self.labels, self.domains)))


@dataclass(frozen=True)
class AnsweredImage:
    dataset: str
    row: int
    group: str
    """Data set and patient or lesion: images that share it are alike."""
    domain: Domain
    label: str
    """The true one."""
    found: str
    """The one with the highest score."""
    text: str
    """As the model wrote it."""
    label_scores: tuple[float, ...]
    """Natural log-probability of each label, in the header's order."""
    findings: Checked
    strata: dict[str, str]

    @property
    def key(self) -> tuple[str, int]:
        return self.dataset, self.row

    @property
    def is_right(self) -> bool:
        return self.found == self.label


@dataclass(frozen=True)
class Evaluation:
    """A whole answers.jsonl, read back."""

    header: Header
    images: tuple[AnsweredImage, ...]


def answered_image(labels: LabelSet, question: Question, answer: Answer) -> AnsweredImage:
    """The answer beside the truth; its findings are checked on the image itself. A text that is
    no caption states none."""
    example = question.example
    try:
        caption = parse_caption(answer.text, labels)
    except CaptionFormatError:
        findings = Checked(0, 0, 0)
    else:
        findings = confirmed(caption, question.square(SIDE), example.domain)
    return AnsweredImage(
        dataset=example.dataset,
        row=example.row,
        group=f"{example.dataset} {example.group}",
        domain=example.domain,
        label=example.label,
        found=labels.names[int(np.argmax(answer.label_scores))],
        text=answer.text,
        label_scores=answer.label_scores,
        findings=findings,
        strata=dict(question.strata),
    )


class AnswerFile:
    """An open answers.jsonl: `images` are those it held, `add` appends one more."""

    def __init__(self, file: IO[bytes], images: Sequence[AnsweredImage]) -> None:
        self._file = file
        self.images = tuple(images)

    def add(self, image: AnsweredImage) -> None:
        self._file.write(_line(asdict(image)))
        self._file.flush()


@contextmanager
def open_answers(folder: Path, header: Header) -> Iterator[AnswerFile]:
    """The folder's answers, to go on with; begun with `header` if there are none.

    Raises: EvaluationError when they are of another model, split or choice of images, or another
    process is adding to them.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / ANSWERS
    with path.open("a+b") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            raise EvaluationError(
                f"another evaluation is writing {path}; wait for it or choose another --out"
            ) from exc
        file.seek(0)
        content = file.read()
        whole = content[: content.rfind(b"\n") + 1]
        file.truncate(len(whole))  # half a line is what a kill leaves
        images: tuple[AnsweredImage, ...] = ()
        if whole:
            kept, images = _read(path, whole)
            _check_same(path, kept, header)
        else:
            file.write(_line({"kind": KIND, **asdict(header)}))
            file.flush()
        yield AnswerFile(file, images)


def read_evaluation(folder: Path) -> Evaluation:
    """Raises: EvaluationError when there is none, it is damaged, or it is not finished."""
    path = folder / ANSWERS
    try:
        content = path.read_bytes()
    except OSError as exc:
        raise EvaluationError(
            f"no evaluation ({exc.strerror}): {path}; make it with `python -m training evaluate`"
        ) from exc
    header, images = _read(path, content[: content.rfind(b"\n") + 1])
    if len(images) != header.images:
        raise EvaluationError(
            f"{path} has {len(images)} of {header.images} answers; "
            "run the same `python -m training evaluate` again, it goes on from there"
        )
    return Evaluation(header, images)


def _read(path: Path, whole: bytes) -> tuple[Header, tuple[AnsweredImage, ...]]:
    number = 0
    try:
        lines = enumerate(whole.splitlines(), 1)
        number, first = next(lines, (1, b""))
        header = _header(json.loads(first))
        images = []
        for number, line in lines:  # noqa: B007 (named in the error)
            images.append(_image(json.loads(line), header.labels))
    except (ValueError, LookupError, TypeError, AttributeError) as exc:
        raise EvaluationError(
            f"{path}, line {number}: not an answer ({type(exc).__name__}: {exc}); "
            "delete the file to ask again"
        ) from exc
    if len({image.key for image in images}) != len(images):
        raise EvaluationError(f"{path}: an image is answered twice; delete the file to ask again")
    return header, tuple(images)


def _header(value: dict[str, Any]) -> Header:
    if value["kind"] != KIND:
        raise ValueError(f"the first line is of kind {value['kind']!r}")
    known = {field.name: value[field.name] for field in fields(Header)}
    known["labels"], known["domains"] = tuple(value["labels"]), tuple(value["domains"])
    if len(known["labels"]) != len(known["domains"]):
        raise ValueError("there are not as many domains as labels")
    return Header(**known)


def _image(value: dict[str, Any], labels: tuple[str, ...]) -> AnsweredImage:
    known = {field.name: value[field.name] for field in fields(AnsweredImage)}
    known["label_scores"] = tuple(map(float, value["label_scores"]))
    known["findings"] = Checked(**value["findings"])
    image = AnsweredImage(**known)
    if len(image.label_scores) != len(labels) or not {image.label, image.found} <= set(labels):
        raise ValueError("its labels are not those of the first line")
    return image


def _check_same(path: Path, kept: Header, header: Header) -> None:
    for field in fields(Header):
        there, here = getattr(kept, field.name), getattr(header, field.name)
        if there != here:
            raise EvaluationError(
                f"{path} holds another evaluation: {field.name} {there} there, {here} now; "
                "choose another --out"
            )


def _line(value: dict[str, Any]) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode() + b"\n"
