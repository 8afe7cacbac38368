"""A screen over stand-ins for our own ports: every state on demand, the same at every run.

The desks, their jobs and the consultation are the real ones; only what lies behind the ports is
not. Time stands still and the log is in memory.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from threading import Event
from typing import Any

from stand_ins import CAPTION, CARD, LABELS, MemoryLog, OneImage, OneReading, ports
from textual import events
from textual.pilot import Pilot
from textual.widgets import Input
from textual.worker import Worker

from appliance.config import Config
from appliance.core.access import Role
from appliance.core.atlas import Atlas
from appliance.core.caption import caption_json
from appliance.core.consult import Ports
from appliance.core.entry import Entry
from appliance.core.health import Finding
from appliance.core.labels import Domain, LabelSet
from appliance.core.ports import Images, Passage, Picture, Reading
from appliance.core.query import GuidelineQuery, Within
from appliance.edges.case_store import CaseStore
from appliance.edges.guidelines import IndexedDocument
from appliance.errors import ApplianceError, AtlasMissingError, ModelError
from appliance.release.drawings import draw
from appliance.release.shelf import DEMONSTRATION, find_release
from appliance.tui.app import ClinicScreen
from appliance.tui.desk import Opened
from appliance.tui.overview import Overview
from appliance.tui.screens.worklist import WorklistScreen
from appliance.wiring import Reader, open_users

WAIT_S = 60
SIDE = 8
"""Pixels of the pictures: few and of few shades, so that a kept screen is small."""
PICTURE = "/clinic/pictures/eye left.png"
SURE, TWO, UNSURE = (-0.1, -3.0, -9.0, -9.0), (-0.5, -1.0, -9.0, -9.0), (-1.0, -1.0, -1.0, -1.0)
"""Label scores for one label, a set, and none."""
LONG = (
    "asymmetric pigmented macule with an irregular, notched border, several shades of brown, a "
    "blue-white veil over its lower half, an atypical network that ends abruptly at the edge, "
    "irregular streaks at the periphery and regression in the centre, seen on heavily sun-damaged "
    "skin with many solar lentigines around it"
)


class Shelf:
    """Guidelines with three passages of one document."""

    def __init__(self) -> None:
        self.shelf = [
            _passage(0, "Recommendation", "Refer a suspected melanoma within two weeks.", "B"),
            _passage(1, "Biopsy", "Excise it whole with a margin of 2 mm of normal skin.", "A"),
            _passage(2, "Follow-up", "See the patient every three months in the first year.", None),
        ]

    def find(
        self, query: GuidelineQuery, k: int, within: Within | None = None
    ) -> Sequence[Passage]:
        return self.shelf[:k]

    def holding(self, sentence: str) -> Sequence[Passage]:
        return [passage for passage in self.shelf if sentence in passage.text]

    def around(self, passage_id: str) -> Sequence[Passage]:
        place = [passage.passage_id for passage in self.shelf].index(passage_id)
        return self.shelf[max(place - 1, 0) : place + 2]

    def documents(self) -> list[IndexedDocument]:
        current = ("Skin Cancer: Recognition and Referral", "2nd edition, 2024", 48, 212, ())
        old = ("Management of Melanoma", None, 30, 99, ("its review was due on 2023-01-01",))
        return [
            IndexedDocument("0123456789abcdef", title, edition, pages, passages, False, notes)
            for title, edition, pages, passages, notes in (current, old)
        ]

    def page_pixels(self, document_id: str, page: int, size: int) -> tuple[bytes, int, int, int]:
        return coarse("chest"), SIDE, 210, 297


def _passage(ordinal: int, section: str, text: str, grade: str | None) -> Passage:
    return Passage(
        passage_id=f"0123456789abcdef-{ordinal:05}",
        text=text,
        document="Skin Cancer: Recognition and Referral",
        edition="2nd edition, 2024",
        page=ordinal + 11,
        section=f"3 Melanoma > {section}",
        grade=grade,
        evidence="II-2" if grade else None,
        score=1 / (ordinal + 1),
        grading="malaysian",
        caution=None if grade else "its review was due on 2023-01-01",
    )


class Log(MemoryLog):
    """Cases, whose names are at random, have one name in it: an entry's hash is on the screen."""

    def append(self, kind: str, body: Mapping[str, Any]) -> Entry:
        return super().append(kind, {**body, "case": "0" * 16} if body.get("case") else body)


class Readable:
    """The same log as the screen reads it."""

    def __init__(self, log: Log) -> None:
        self.log = log
        self.append, self.image_mark = log.append, log.image_mark

    def size(self) -> int:
        return len(self.log.entries)

    def entries(self, first: int = 1) -> list[Entry]:
        return self.log.entries[first - 1 :]


class Behind(Opened):
    """What a desk has open: stand-ins, but real cases, in the home."""

    def __init__(self, config: Config, consulting: Ports, log: Log) -> None:
        super().__init__(config)
        self._consulting, self._log = consulting, log

    @cached_property
    def ports(self) -> Ports:
        cases = self.cases if self.config.keep_cases_days else None
        count = self.config.atlas_cases
        atlas = self._consulting.atlas if count else None
        return replace(
            self._consulting, cases=cases, audit=self._log, atlas=atlas, atlas_cases=count
        )

    @cached_property
    def reader(self) -> Reader:
        demonstration = find_release(self.config.releases_folder, DEMONSTRATION)
        return Reader(demonstration, self._consulting.captioner, self._consulting.cancel)

    @cached_property
    def atlas(self) -> Atlas:
        if self._consulting.atlas is None:
            raise AtlasMissingError(
                "there is no atlas for stand-in on this machine",
                "add the one that came with it: `appliance atlas add FOLDER`",
            )
        return self._consulting.atlas

    @cached_property
    def images(self) -> Images:
        return self._consulting.images

    @cached_property
    def cases(self) -> CaseStore:
        return self._stack.enter_context(CaseStore(self.config.cases_folder))

    @cached_property
    def audit(self) -> Readable:  # type: ignore[override]
        return Readable(self._log)

    def overview(self) -> Overview:
        return overview(self.config)

    def labels_of(self, release_sha256: str) -> LabelSet:
        return LABELS

    @cached_property
    def guidelines(self) -> Shelf:  # type: ignore[override]
        return Shelf()


def clinic(
    home: Path, consulting: Ports | None = None, log: Log | None = None, **settings: Any
) -> ClinicScreen:
    """The screen; `consulting` is what a consultation goes through."""
    given, record = consulting or answering(), log or Log()
    return ClinicScreen(
        Config(home, **settings),
        unforeseen,
        opened=lambda config: Behind(config, given, record),
        clock_s=lambda: 0.0,
    )


def unforeseen() -> ApplianceError:
    return ApplianceError("something unforeseen happened", "try again", code="unforeseen")


async def settled(pilot: Pilot[None]) -> None:
    """When no worker is at work but those that wait for a person, and all is drawn; the cursor
    stands still."""
    await pilot.pause()
    while any(worker.is_running and not _is_waiting(pilot, worker) for worker in pilot.app.workers):
        await pilot.pause(0.02)
    while isinstance(pilot.app.screen, WorklistScreen) and pilot.app.screen.is_stale:
        await pilot.pause(0.02)
    for field in pilot.app.screen.query(Input):
        field.cursor_blink = False
    await pilot.pause()


async def until(pilot: Pilot[None], is_so: Callable[[], bool]) -> None:
    """Raises: TimeoutError."""
    async with asyncio.timeout(WAIT_S):
        while not is_so():
            await pilot.pause(0.02)


def _is_waiting(pilot: Pilot[None], worker: Worker[Any]) -> bool:
    return len(pilot.app.screen_stack) > 1 and worker.group in WAITING


WAITING = frozenset({"atlas-ask", "note", "save", "judge", "add", "consult", "case"})
"""Groups of workers that wait for an answer while a dialog is open."""


def steps(*keys: str) -> Callable[[Pilot[None]], Awaitable[None]]:
    """Press them one after the other, each when the one before has been dealt with. `=text` pastes
    a text, as typing it would take long."""

    async def press(pilot: Pilot[None]) -> None:
        await settled(pilot)
        for key in keys:
            if key.startswith("="):
                await pilot.app.on_event(events.Paste(key[1:]))
            else:
                await pilot.press(key)
            await settled(pilot)

    return press


def coarse(domain: Domain) -> bytes:
    return bytes(value & 0xE0 for value in draw(domain, 0, SIDE).rgb)


def answering(
    scores: Sequence[float] = SURE,
    *,
    findings: str = CAPTION.key_findings,
    error: ApplianceError | None = None,
) -> Ports:
    """Ports of a consultation that ends so."""
    text = caption_json(replace(CAPTION, key_findings=findings))
    image = OneImage(coarse("skin"), error)
    captioner = OneReading(text, scores)
    captioner.release = replace(CARD, image_size=SIDE)
    return ports(images=image, captioner=captioner, guidelines=Shelf())


class Waiting(OneReading):
    """A captioner that reads until it is told to stop, as a large model seems to."""

    release = replace(CARD, image_size=SIDE)

    def __init__(self) -> None:
        super().__init__()
        self.is_reading, self._stop = Event(), Event()

    def cancel(self) -> None:
        self._stop.set()

    def read(self, picture: Picture, *, anew: bool = False) -> Reading:
        self.is_reading.set()
        if not self._stop.wait(60):
            raise TimeoutError
        self._stop.clear()
        raise ModelError("the reading was cancelled", "start it again", code="model-cancelled")


class Crashing(OneReading):
    """A captioner whose process stops at the first picture, and then reads."""

    release = replace(CARD, image_size=SIDE)

    def __init__(self) -> None:
        super().__init__(scores=SURE)
        self._is_first = True

    def read(self, picture: Picture, *, anew: bool = False) -> Reading:
        if self._is_first:
            self._is_first = False
            raise ModelError(
                "the model's process stopped twice while reading this picture",
                "try another picture; if that stops it too, run `appliance release verify`",
                code="model-crash",
            )
        return self.reading


class First(OneReading):
    """A captioner that reads one picture; the ones after it `later` reads."""

    release = replace(CARD, image_size=SIDE)

    def __init__(self, later: OneReading) -> None:
        super().__init__(scores=SURE)
        self._later, self._is_first = later, True

    def read(self, picture: Picture, *, anew: bool = False) -> Reading:
        if not self._is_first:
            return self._later.read(picture, anew=anew)
        self._is_first = False
        return self.reading


def with_captioner(captioner: OneReading) -> Ports:
    cancel = captioner.cancel if isinstance(captioner, Waiting) else lambda: None
    return replace(answering(), captioner=captioner, cancel=cancel)


def with_rules(home: Path) -> None:
    """What the passages of `Shelf` say of treatments, as a clinic's own rules."""
    rules = [
        (["melanoma"], "cryotherapy", "against", "critical", "Excise it whole with a margin"),
        (["melanoma"], "excision", "for", "high", "Excise it whole with a margin of 2 mm"),
        (["melanoma"], "reassurance", "against", "critical", "within two weeks"),
        (["melanocytic nevus"], "reassurance", "for", "moderate", "every three months"),
    ]
    text = "".join(
        f"[[rules]]\nlabels = {labels}\ntreatments = ['{treatment}']\nstance = '{stance}'\n"
        f"severity = '{severity}'\nquote = '{quote}'\nsource = 'Skin Cancer, 3'\n"
        for labels, treatment, stance, severity, quote in rules
    )
    (home / "rules").mkdir(parents=True)
    (home / "rules" / "clinic.toml").write_text(text, encoding="utf-8")


def users_home(home: Path) -> None:
    """With three people, of whom siti must choose a secret of her own."""
    with open_users(Config(home)) as users:
        users.add("aisyah", "administrator", "the first secret")
        for name, role in PEOPLE.items():
            users.add(name, role, f"given to {name}")
        users.change_secret("ali", "given to ali", SECRET)


PEOPLE: dict[str, Role] = {"ali": "clinician", "siti": "auditor"}
SECRET = "seven brown otters"


def overview(config: Config) -> Overview:
    """What a machine in order tells, but for one thing."""
    findings = [
        Finding("clock", "ok", "2026-01-02 03:04 UTC; the machine is up for 2:11:04"),
        Finding("disk", "warn", "1.2 GB free for home, log and cases", "remove what is not needed"),
        Finding("log", "ok", "412 entries, its end fits; `--full` proves every one"),
        Finding(
            "index", "bad", "a part of the index is gone", "run `appliance guidelines rebuild`"
        ),
        Finding("network", "ok", "the process that opens pictures can open no connection"),
    ]
    at = "2026-01-02T03:04:05.000+00:00"
    home = replace(config, home=Path("/home/clinic/appliance"))
    return Overview(home, CARD, "1.0.0", 2, 311, 412, at, 35_800_000_000, findings)
