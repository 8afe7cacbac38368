"""Jobs for a desk: one consultation, and what a clinician makes of it."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from threading import Event, Lock
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from appliance.config import Config
from appliance.core.cases import Verdict, Wanted
from appliance.core.ports import CANCELLED, Images, Picture
from appliance.errors import ImageError, ModelError
from appliance.tui.desk import Desk, Opened
from appliance.tui.folders import Place
from appliance.tui.shown import Pixels, Shown, shown_case, shown_result

if TYPE_CHECKING:
    from appliance.core.casework import Again
    from appliance.core.consult import Stage

RECENT = 12
"""Pictures that are offered again."""
CANCEL_AGAIN_S = 0.1
Result = TypeVar("Result")


@dataclass(frozen=True)
class Before:
    """What is known from earlier consultations."""

    recent: list[Place]
    """Pictures asked about, newest first."""
    spent_s: list[float]
    """What each took, newest last."""


class UnderWay(Generic[Result]):
    """A reading under way. Made by the screen, run on a desk, cancelled from the screen."""

    def __init__(self, on_stage: Callable[["Stage"], None]) -> None:
        """`on_stage` is called on the desk's thread."""
        self._on_stage = on_stage
        self._is_cancelled = Event()
        self._is_at_work = False
        self._at_work = Lock()
        """Held while it is cancelled: the desk begins nothing else meanwhile."""

    def __call__(self, opened: Opened) -> Result:
        """Raises: as `work`."""
        try:
            return self.work(opened)
        finally:
            with self._at_work:
                self._is_at_work = False

    def work(self, opened: Opened) -> Result:
        raise NotImplementedError

    async def stop(self, desk: Desk, is_over: Callable[[], bool]) -> None:
        """End the stage that runs, and begin no other; what the desk does before it and after it
        goes on. `is_over`: the screen waits for it no more."""
        self._is_cancelled.set()
        while not is_over():
            with self._at_work:
                if self._is_at_work:
                    desk.cancel()
            await asyncio.sleep(CANCEL_AGAIN_S)

    def step(self, stage: "Stage") -> None:
        """Raises: ModelError when it is to stop, but never where the record is written."""
        self._is_at_work = True
        if self._is_cancelled.is_set() and stage != "recording":
            raise ModelError("the reading was cancelled", "start it again", code=CANCELLED)
        self._on_stage(stage)


class Asking(UnderWay[Shown]):
    """One consultation."""

    def __init__(
        self,
        path: str,
        on_stage: Callable[["Stage"], None],
        on_picture: Callable[[Pixels], None],
        item_id: str | None = None,
    ) -> None:
        """`on_picture` is called on the desk's thread, too; `item_id` is of a worklist."""
        super().__init__(on_stage)
        self.path = path
        self._on_picture, self._item_id = on_picture, item_id

    def work(self, opened: Opened) -> Shown:
        from appliance.core.answer import answer_json
        from appliance.core.consult import consult
        from appliance.core.worklist import NamedLog

        ports = opened.ports
        ports = replace(ports, images=_Watched(ports.images, self._on_picture))
        if self._item_id is not None:
            ports = replace(ports, audit=NamedLog(ports.audit, self._item_id))
        result = consult(self.path, ports, opened.config.passages, self.step)
        return shown_result(result, answer_json(result))


class _Watched:
    """Images that are told of as soon as they are open."""

    def __init__(self, images: Images, on_picture: Callable[[Pixels], None]) -> None:
        self._images, self._on_picture = images, on_picture

    def open(self, path: str, size: int) -> Picture:
        picture = self._images.open(path, size)
        self._on_picture(pixels_of(picture))
        return picture


class Unchanged:
    """Images of which only the one with this hash is opened: a device may use a name again."""

    def __init__(self, images: Images, sha256: str) -> None:
        self._images, self._sha256 = images, sha256

    def open(self, path: str, size: int) -> Picture:
        picture = self._images.open(path, size)
        if picture.sha256 != self._sha256:
            raise ImageError(
                f"the file is not the picture that was answered: {path}",
                "consult on it first",
                code="image-changed",
            )
        return picture


def pixels_of(picture: Picture) -> Pixels:
    return Pixels(picture.rgb, picture.size, picture.width, picture.height)


def warm(opened: Opened) -> None:
    """Open what a consultation needs, so that the first one waits for less."""
    assert opened.ports


def before(opened: Opened) -> Before:
    """None of it where no cases are kept."""
    if not opened.config.keep_cases_days:
        return Before([], [])
    cases = opened.cases.find(Wanted(), RECENT)
    by_path = {str(case.answer["image"]["path"]): case for case in reversed(cases)}
    recent = [
        Place(path, f"{case.at[:16].replace('T', ' ')}  {_labels(case.answer, opened.config)}")
        for path, case in reversed(by_path.items())
    ]
    spent = [sum(case.answer["timings_ms"].values()) / 1000 for case in reversed(cases)]
    return Before(recent, [seconds for seconds in spent if seconds])


def judged(
    shown: Shown, verdict: Verdict, corrected: Mapping[str, str] | None = None
) -> Callable[[Opened], Shown]:
    """Accept, correct or reject its caption."""

    def judge(opened: Opened) -> Shown:
        from appliance.core.casework import judge_case

        case_id = _case_of(shown)
        labels = opened.labels_of(shown.answer["release"]["sha256"]) if corrected else None
        judge_case(opened.cases, opened.audit, labels, case_id, verdict, corrected)
        return _as_kept(opened, shown)

    return judge


def annotated(shown: Shown, reference: str, note: str) -> Callable[[Opened], Shown]:
    def annotate(opened: Opened) -> Shown:
        from appliance.core.casework import annotate_case

        case_id = _case_of(shown)
        annotate_case(opened.cases, opened.audit, case_id, reference=reference, note=note)
        return _as_kept(opened, shown)

    return annotate


def impressed(shown: Shown, label: str) -> Callable[[Opened], Shown]:
    """A second reader's own label, in the record before the caption is shown."""

    def impress(opened: Opened) -> Shown:
        from appliance.core.casework import impress_case
        from appliance.core.record import recorded

        if shown.case_id is not None:
            impress_case(opened.cases, opened.audit, shown.case_id, label)
        else:  # no cases are kept: the record alone has it
            with recorded(opened.audit, "case.impression", {}) as outcome:
                agrees = label in shown.answer["decision"]["labels"]
                entry = shown.record[0] if shown.record else None
                outcome |= {"entry": entry, "label": label, "agrees": agrees}
        return shown.changed(impression=label)

    return impress


def read_again(shown: Shown) -> Callable[[Opened], "Again"]:
    """For the model's desk."""

    def read(opened: Opened) -> "Again":
        from appliance.core.casework import read_again

        ports = opened.ports
        return read_again(opened.cases, ports.audit, ports.captioner, _case_of(shown))

    return read


def cases_found(wanted: Wanted, limit: int) -> Callable[[Opened], Sequence[Shown]]:
    """Newest first, without their pictures; one above `limit` where there are more. Recorded."""

    def find(opened: Opened) -> Sequence[Shown]:
        from appliance.core.record import recorded

        with recorded(opened.audit, "case.list", {}) as outcome:
            found = opened.cases.find(wanted, limit + 1)
            outcome["cases"] = len(found)
        return [shown_case(case, None) for case in found]

    return find


def case_opened(case_id: str) -> Callable[[Opened], Shown]:
    """One in full; recorded."""

    def open_it(opened: Opened) -> Shown:
        from appliance.core.casework import open_case

        case = open_case(opened.cases, opened.audit, case_id)
        return shown_case(case, opened.cases.pixels(case_id))

    return open_it


def page_saved(shown: Shown, path: str, text: str) -> Callable[[Opened], None]:
    """Write one page without an identifier; recorded. Raises: ConfigError."""

    def save(opened: Opened) -> None:
        from appliance.core.record import recorded
        from appliance.tui.page import write_page

        asked = {"case": shown.case_id, "entry": shown.record[0] if shown.record else None}
        with recorded(opened.audit, "case.page", asked):
            write_page(path, text)

    return save


def larger_picture(image: Mapping[str, Any], size: int) -> Callable[[Opened], Pixels]:
    """The file itself, once more, for a larger view; `image` as in an answer. Raises: ImageError,
    also where the file is another picture by now."""

    def open_it(opened: Opened) -> Pixels:
        images = Unchanged(opened.images, image["sha256"])
        return pixels_of(images.open(image["path"], size))

    return open_it


def _as_kept(opened: Opened, shown: Shown) -> Shown:
    """With what is kept of it now."""
    from appliance.core.casework import found_case

    kept = shown_case(found_case(opened.cases, _case_of(shown)), None)
    return kept.changed(pixels=shown.pixels)


def _case_of(shown: Shown) -> str:
    assert shown.case_id is not None, "the screen offers this for kept cases only"
    return shown.case_id


def _labels(answer: Mapping[str, Any], config: Config) -> str:
    """What was decided; not where an own impression is to come first."""
    is_answered = answer["error"] is None and not config.second_reader
    return ", ".join(answer["decision"]["labels"]) if is_answered else ""
