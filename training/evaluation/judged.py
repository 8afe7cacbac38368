"""What a judge is asked about each answered image, its scores as they come, and their figures.

The model's caption is the response; the teacher's caption of the same image is both context and
ground truth, as in the reference. Knows nothing of ragas, models or networks.
"""

import fcntl
import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from appliance.core.caption import FIELDS, Caption, CaptionFormatError, parse_caption
from appliance.core.labels import DOMAINS, Domain
from training.evaluation.answered import Evaluation, EvaluationError

Metric = Literal["faithfulness", "answer_relevancy", "answer_correctness"]
METRICS: tuple[Metric, ...] = get_args(Metric)

SCORES = "judged.jsonl"
FIGURES = "judged.json"

QUESTION = (
    "What does this medical image show? Name the diagnosis, the type of image, the anatomical "
    "region, the key findings and their clinical significance."
)
"""appliance.core.prompt's request as a person would put it: how to write JSON is not judged."""
SENTENCES = {
    "label": "The diagnosis is {}.",
    "image_type": "The type of image is {}.",
    "anatomical_region": "The anatomical region is {}.",
    "key_findings": "The key findings are: {}.",
    "clinical_significance": "The clinical significance is: {}.",
}
ENOUGH_SCORED = 0.9
"""A mean over a smaller share of the images is flagged: what failed may not be like the rest."""
RESAMPLES = 1000


@dataclass(frozen=True)
class Sample:
    """One image as the judge sees it."""

    dataset: str
    row: int
    domain: Domain
    question: str
    response: str
    """The model's caption in sentences; a text that is no caption as it is."""
    reference: str
    """The teacher's caption in sentences."""


@dataclass(frozen=True)
class Score:
    """A line of judged.jsonl: one metric of one image."""

    key: str
    dataset: str
    row: int
    domain: Domain
    metric: Metric
    score: float | None
    """None where there is a reason."""
    reason: str
    """training.evaluation.judge.Reason, or empty."""
    detail: str
    cost: float
    """In dollars, at the prices of the day."""

    @property
    def is_final(self) -> bool:
        """An endpoint that gave no answer may give one another day; all else stays."""
        return self.reason not in ("no answer", "unfinished")


def caption_sentences(caption: Caption) -> str:
    return " ".join(
        SENTENCES[name].format(getattr(caption, name).strip().rstrip(".")) for name in FIELDS
    )


def read_teacher(file: Path, split: str) -> dict[tuple[str, int], Caption]:
    """The captions of one split, by data set and row.

    Raises: EvaluationError for a line that is no caption, or an image that comes twice.
    """
    captions: dict[tuple[str, int], Caption] = {}
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
        try:
            value = json.loads(line)
            key, caption = (value["dataset"], value["row"]), Caption(**value["caption"])
            if value["split"] != split:
                continue
            caption_sentences(caption).encode()
        except (ValueError, LookupError, TypeError, AttributeError) as exc:
            raise EvaluationError(
                f"{file}, line {number}: not a caption; make the file with `python -m training "
                "teach` or `measured captions`"
            ) from exc
        if key in captions:
            raise EvaluationError(f"{file}, line {number}: {key[0]}, row {key[1]} comes twice")
        captions[key] = caption
    return captions


def make_samples(
    evaluation: Evaluation, teacher: dict[tuple[str, int], Caption]
) -> tuple[list[Sample], int]:
    """Of every answered image that the teacher captioned; and how many it did not.

    Raises: EvaluationError when the teacher's label is not the image's, or no image has a caption.
    """
    samples = []
    for image in evaluation.images:
        caption = teacher.get(image.key)
        if caption is None:
            continue
        if caption.label != image.label:
            raise EvaluationError(
                f"{image.dataset}, row {image.row}: the teacher says {caption.label!r}, the data "
                f"{image.label!r}; give the captions of the same data"
            )
        try:
            response = caption_sentences(parse_caption(image.text, evaluation.header.label_set))
        except CaptionFormatError:
            response = image.text.encode("utf-8", "replace").decode("utf-8")
        reference = caption_sentences(caption)
        samples.append(
            Sample(image.dataset, image.row, image.domain, QUESTION, response, reference)
        )
    if not samples:
        raise EvaluationError(
            f"no answered image has a caption of the split {evaluation.header.split!r}; "
            "ask about those that have one: `evaluate --captions` with the same file"
        )
    return samples, len(evaluation.images) - len(samples)


def choose(samples: Sequence[Sample], per_domain: int, seed: int) -> list[Sample]:
    """So many of each domain at most, by their names and the seed alone: a larger number adds to
    the choice and keeps what was in it."""

    def place(sample: Sample) -> bytes:
        return hashlib.sha256(f"{seed} {sample.dataset} {sample.row}".encode()).digest()

    shuffled = sorted(samples, key=place)
    return [
        sample
        for domain in DOMAINS
        for sample in [each for each in shuffled if each.domain == domain][:per_domain]
    ]


def score_key(sample: Sample, metric: Metric, settings: Sequence[object]) -> str:
    """Of all that settles a score: the texts, the metric, and the settings of judge and ragas."""
    parts = [metric, sample.question, sample.response, sample.reference, *settings]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]


class ScoreFile:
    """An open judged.jsonl: scores by key, each on disk before the next is asked for."""

    def __init__(self, file: IO[bytes], scores: Sequence[Score]) -> None:
        self._file = file
        self._scores = {self._place(score): score for score in scores}
        self.cost = sum(score.cost for score in scores)
        """Of all that was ever asked here."""

    def get(self, key: str, sample: Sample) -> Score | None:
        return self._scores.get((key, sample.dataset, sample.row))

    def add(self, score: Score) -> None:
        self._file.write(json.dumps(asdict(score)).encode() + b"\n")
        self._file.flush()
        self._scores[self._place(score)] = score
        self.cost += score.cost

    def _place(self, score: Score) -> tuple[str, str, int]:
        return score.key, score.dataset, score.row


@contextmanager
def open_scores(folder: Path) -> Iterator[ScoreFile]:
    """The folder's scores, to go on with.

    Raises: EvaluationError when they are damaged, or another process is adding to them.
    """
    path = folder / SCORES
    with path.open("a+b") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            raise EvaluationError(f"another run is writing {path}; wait for it") from exc
        file.seek(0)
        content = file.read()
        whole = content[: content.rfind(b"\n") + 1]
        file.truncate(len(whole))  # half a line is what a kill leaves
        yield ScoreFile(file, [_read(path, *each) for each in enumerate(whole.splitlines(), 1)])


def _read(path: Path, number: int, line: bytes) -> Score:
    try:
        return Score(**json.loads(line))
    except (ValueError, TypeError) as exc:
        raise EvaluationError(
            f"{path}, line {number}: not a score; delete the line to ask again"
        ) from exc


def figures(scores: Sequence[Score], seed: int) -> dict[str, Any]:
    """Of each metric: over all images, and by domain."""
    return {
        metric: {
            "overall": _figure([each for each in scores if each.metric == metric], seed),
            "domains": {
                domain: _figure(found, seed)
                for domain in DOMAINS
                if (found := [s for s in scores if (s.metric, s.domain) == (metric, domain)])
            },
        }
        for metric in METRICS
    }


def _figure(scores: Sequence[Score], seed: int) -> dict[str, Any]:
    values = np.array([each.score for each in scores if each.score is not None], dtype=float)
    reasons = Counter(each.reason for each in scores if each.score is None)
    return {
        "mean": float(values.mean()) if len(values) else None,
        "interval": _bootstrap(values, seed) if len(values) else None,
        "scored": len(values),
        "failed": len(scores) - len(values),
        "reasons": dict(reasons.most_common()),
        "too_few_scored": len(values) < ENOUGH_SCORED * len(scores),
    }


def _bootstrap(values: NDArray[np.float64], seed: int) -> tuple[float, float]:
    """Of the mean, 95 %, by images drawn again from themselves."""
    rng = np.random.default_rng(seed)
    means = [rng.choice(values, len(values)).mean() for _ in range(RESAMPLES)]
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)


def figure_lines(judged: dict[str, Any]) -> list[str]:
    """The figures as a person reads them; what cannot be trusted says so."""
    lines = []
    for metric, found in judged["metrics"].items():
        for name, figure in [*found["domains"].items(), ("all", found["overall"])]:
            value = "no score"
            if figure["mean"] is not None:
                low, high = figure["interval"]
                value = f"{figure['mean']:.3f} ({low:.3f}-{high:.3f})"
            line = f"{metric:<18} {name:<6} {value}  n {figure['scored']}"
            if figure["failed"]:
                why = ", ".join(f"{reason} {n}" for reason, n in figure["reasons"].items())
                line += f", {figure['failed']} failed ({why})"
            if figure["too_few_scored"]:
                line += f"  FEWER THAN {ENOUGH_SCORED:.0%} SCORED: not a mean of all images"
            lines.append(line)
    return lines
