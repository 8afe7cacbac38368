"""The worklist at work: goes on whichever screen is seen, also behind the lock.

What is done is read from the log, never remembered apart from it; what is to be done, in which
order, is on the disk before it is shown. So a kill or a power cut at any point loses nothing and
repeats nothing that was answered.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from appliance.core.worklist import UNDONE, Item, Outcome, Worklist, outcomes, usual_s
from appliance.errors import ApplianceError
from appliance.tui.consulting import Asking
from appliance.tui.desk import Desk, Opened
from appliance.tui.shown import Shown

if TYPE_CHECKING:
    from appliance.core.consult import Stage
    from appliance.edges.worklist_file import WorklistFile

SETTLED_S = 2.0
"""A file in the watched folder that changed since may still be being written."""


class Running:
    """One worklist; all methods are called on the screen's own thread."""

    def __init__(
        self,
        desk: Desk,
        side_desk: Desk,
        watched: str,
        on_change: Callable[[], object],
        on_stage: Callable[[], object],
    ) -> None:
        """`watched`: a folder whose pictures are added, or empty. `on_change` is called when what
        is to be seen has changed; `on_stage` also from another thread."""
        self._desk, self._side_desk = desk, side_desk
        self._watched, self._on_change, self._on_stage = watched, on_change, on_stage
        self._file: WorklistFile | None = None
        self._opening: asyncio.Task[None] | None = None
        self._saving = asyncio.Lock()
        self._spent_s: list[float] = []
        self._is_stopping = False
        self.worklist = Worklist()
        self.done: dict[str, Outcome] = {}
        self.now: Item | None = None
        """The one being read."""
        self.stage: Stage | None = None
        self.is_running = False

    @property
    def left(self) -> tuple[Item, ...]:
        return self.worklist.left(self.done)

    @property
    def left_s(self) -> float | None:
        """Seconds for all that is left, from what the last ones took on this machine."""
        usual = usual_s(self._spent_s)
        return None if usual is None else usual * len(self.left)

    async def open(self) -> None:
        """Read the list and, from the log, what came of it. Raises: ConfigError, AuditError."""
        if self._file is None and (self._opening is None or self._opening.done()):
            self._opening = asyncio.create_task(self._open())
        if self._opening is not None:
            await asyncio.shield(self._opening)  # who waits may be gone before it is done

    async def _open(self) -> None:
        self._file, self.worklist, self.done = await self._side_desk.ask(_look)
        self._on_change()

    async def add(self, paths: Sequence[str]) -> int:
        """Pictures, folders of them, or lists; how many were not in it yet. Raises: as `open`."""
        await self.open()

        def find(opened: Opened) -> tuple[list[Item], int]:
            from appliance.wiring import worklist_items

            return worklist_items(paths), opened.audit.size() + 1

        items, since = await self._side_desk.ask(find)
        return await self._added(items, since)

    async def look_again(self) -> None:
        """Add what came into the watched folder. Raises: as `open`."""
        if not self._watched:
            return
        await self.open()

        def find(opened: Opened) -> tuple[list[Item], int]:
            from appliance.wiring import settled_items

            return settled_items(self._watched, SETTLED_S), opened.audit.size() + 1

        items, since = await self._side_desk.ask(find)
        await self._added([i for i in items if i.mark not in self.worklist.cleared], since)

    async def change(self, item: Item, **changes: bool) -> None:
        """For example `is_skipped` or `is_urgent`. Raises: ConfigError."""
        await self._save(lambda worklist: worklist.changed(item.item_id, **changes))

    async def ask_again(self, item: Item) -> None:
        """One that failed, under another name. Raises: ConfigError."""
        from appliance.edges.worklist_file import new_items

        [fresh] = await self._side_desk.ask(lambda opened: new_items([item.path]))

        def put(worklist: Worklist) -> Worklist:
            names = [each.item_id for each in worklist.items]
            place = names.index(item.item_id)
            before, after = worklist.items[:place], worklist.items[place + 1 :]
            return replace(worklist, items=(*before, fresh, *after))

        await self._save(put)

    async def forget_done(self) -> None:
        """Raises: ConfigError."""
        await self._save(lambda worklist: worklist.without(self.done))

    async def run(self) -> None:
        """Read one after the other until none is left or it is paused.

        Raises: ApplianceError, at once when what went wrong is not of one picture; after all else
        is read when it is, and nobody foresaw it: the log has that picture as failed.
        """
        if self.is_running:
            return
        self.is_running, self._is_stopping = True, False
        unforeseen = None
        try:
            await self._save(lambda worklist: replace(worklist, is_paused=False))
            while (left := self.left) and not self.worklist.is_paused and not self._is_stopping:
                try:
                    await self._read(left[0])
                except ApplianceError as exc:
                    unforeseen = exc
                    self.done |= await self._side_desk.ask(self._recorded)
                    if left[0].item_id not in self.done:
                        raise
        finally:
            self.is_running, self.now, self.stage = False, None, None
            self._on_change()
        if unforeseen is not None:
            raise unforeseen

    async def pause(self) -> None:
        """After the picture at work. Raises: ConfigError."""
        await self._save(lambda worklist: replace(worklist, is_paused=True))

    def stop(self) -> None:
        """After the picture at work, without a word in the file: it goes on with the next start."""
        self._is_stopping = True

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    async def _read(self, item: Item) -> None:
        self.now, self.stage = item, None
        self._on_change()
        began_s = time.monotonic()
        asking = Asking(item.path, self._reached, lambda pixels: None, item.item_id)
        shown = await self._desk.ask(asking)
        self._spent_s.append(time.monotonic() - began_s)
        outcome = outcome_of(shown)
        if outcome.error in UNDONE:
            self._is_stopping = True
        else:
            self.done[item.item_id] = outcome
        self.now = None
        self._on_change()

    def _recorded(self, opened: Opened) -> dict[str, Outcome]:
        """What the log says by now."""
        return outcomes(opened.audit.entries(self.worklist.since), self.worklist)

    def _reached(self, stage: "Stage") -> None:
        self.stage = stage
        self._on_stage()

    async def _added(self, items: list[Item], since: int) -> int:
        before = len(self.worklist.items)
        read = {*self.done, self.now.item_id if self.now else ""}

        def grow(worklist: Worklist) -> Worklist:
            begun = worklist if worklist.items else replace(worklist, since=since)
            return begun.with_pictures(items, read)

        await self._save(grow)
        return len(self.worklist.items) - before

    async def _save(self, change: Callable[[Worklist], Worklist]) -> None:
        """One change after the other, each on the disk before it is seen; also when who asked for
        it is gone meanwhile."""
        await self.open()
        await asyncio.shield(asyncio.create_task(self._save_in_turn(change)))

    async def _save_in_turn(self, change: Callable[[Worklist], Worklist]) -> None:
        async with self._saving:
            file, changed = self._file, change(self.worklist)
            if file is None or changed == self.worklist:
                return
            await self._side_desk.ask(lambda opened: file.save(changed))
            self.worklist = changed
        self._on_change()


def _look(opened: Opened) -> "tuple[WorklistFile, Worklist, dict[str, Outcome]]":
    from appliance.wiring import open_worklist

    file = open_worklist(opened.config)
    try:
        worklist = file.load()
        return file, worklist, outcomes(opened.audit.entries(worklist.since), worklist)
    except BaseException:
        file.close()
        raise


def outcome_of(shown: Shown) -> Outcome:
    """As the log would tell it."""
    answer, decision = shown.answer, shown.answer["decision"]
    error = answer["error"]
    kind = "refused" if error or not decision else decision["kind"]
    labels = tuple(decision["labels"]) if decision else ()
    seq = shown.record[0] if shown.record else 0
    return Outcome(seq, kind, labels, error["code"] if error else None, shown.case_id)
