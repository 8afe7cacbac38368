"""Threads that do the work, and what each of them has open.

SQLite connections and the model's process belong to the thread that opened them, so all work on
them is done there, one job after the other. A job touches no widget: it returns, or it raises an
ApplianceError. The screen has two desks, so that what is looked up does not wait for the model.
"""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

from appliance.config import Config
from appliance.errors import ApplianceError, AuditError

if TYPE_CHECKING:
    from appliance.core.access import Users
    from appliance.core.atlas import Atlas
    from appliance.core.cases import Cases
    from appliance.core.consult import Ports
    from appliance.core.labels import LabelSet
    from appliance.core.ports import Images
    from appliance.edges.audit_db import AuditDatabase
    from appliance.edges.guidelines import GuidelineIndex
    from appliance.tui.overview import Overview
    from appliance.wiring import Reader

Done = TypeVar("Done")


class Opened:
    """What one thread has open, each opened by `wiring` when it is first asked for.

    All may raise what `wiring` raises; what could not be opened is tried again the next time.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        self._stack = ExitStack()

    @cached_property
    def ports(self) -> "Ports":
        """For a consultation."""
        from appliance.wiring import open_consultation  # with numpy, Chroma and SQLite

        lookup = self.config.passages > 0
        opening = open_consultation(self.config, lookup=lookup, reader=self.reader)
        return self._stack.enter_context(opening)

    @cached_property
    def reader(self) -> "Reader":
        """One for all that reads pictures at this desk."""
        from appliance.wiring import open_reader

        return self._stack.enter_context(open_reader(self.config))

    @cached_property
    def atlas(self) -> "Atlas":
        from appliance.wiring import open_atlas

        return self._stack.enter_context(open_atlas(self.config, self.reader))

    @cached_property
    def images(self) -> "Images":
        from appliance.wiring import open_images

        return open_images(self.config.burned_in_text)

    @cached_property
    def audit(self) -> "AuditDatabase":
        from appliance.wiring import open_audit

        return self._stack.enter_context(open_audit(self.config))

    @cached_property
    def cases(self) -> "Cases":
        from appliance.wiring import open_cases

        return self._stack.enter_context(open_cases(self.config))

    def forget_old_cases(self) -> None:
        """As opening them does; none are made."""
        from appliance.wiring import open_cases

        if self.config.cases_folder.exists():
            open_cases(self.config).close()

    @cached_property
    def guidelines(self) -> "GuidelineIndex":
        from appliance.wiring import open_guidelines

        return self._stack.enter_context(open_guidelines(self.config))

    @cached_property
    def users(self) -> "Users":
        from appliance.wiring import open_users

        return self._stack.enter_context(open_users(self.config))

    def labels_of(self, release_sha256: str) -> "LabelSet | None":
        """None where that release is not here, as after it was measured anew."""
        from appliance.wiring import labels_of_release

        return labels_of_release(self.config, release_sha256)

    def overview(self) -> "Overview":
        from appliance.tui.overview import overview

        return overview(self)

    def cancel(self) -> None:
        """From another thread: ends the model's reading, if one is in progress."""
        if (opened := self.__dict__.get("ports") or self.__dict__.get("reader")) is not None:
            opened.cancel()

    def reopen(self, config: Config) -> None:
        """Close all, and go on with other settings, for example another user's."""
        self.close()
        self.config = config

    def close(self) -> None:
        """Close all; what is asked for after that is opened anew."""
        for name in ("ports", "reader", "atlas", "images", "audit", "cases", "guidelines", "users"):
            self.__dict__.pop(name, None)
        stack, self._stack = self._stack, ExitStack()
        stack.close()


class Desk:
    """One thread; awaited from the screen."""

    def __init__(self, name: str, opened: Opened, keep_fault: Callable[[], ApplianceError]) -> None:
        """`keep_fault` writes the exception being handled to a file and gives what to show."""
        self._opened = opened
        self._keep_fault = keep_fault
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=name)

    async def ask(self, job: Callable[[Opened], Done]) -> Done:
        """Run `job` on the desk's thread. Raises: ApplianceError, whatever went wrong."""
        return await asyncio.wrap_future(self._thread.submit(self._run, job))

    async def reopen(self, config: Config) -> None:
        """As `Opened.reopen`, after what is at work. Raises: as `ask`."""
        await self.ask(lambda opened: opened.reopen(config))

    def cancel(self) -> None:
        """End the model's reading, if one is in progress."""
        self._opened.cancel()

    def close(self) -> None:
        """End the reading in progress, close all, wait until that is done."""
        closed = self._thread.submit(self._opened.close)
        while not _is_done(closed):
            self.cancel()
        self._thread.shutdown()

    def _run(self, job: Callable[[Opened], Done]) -> Done:
        try:
            return job(self._opened)
        except AuditError:
            self._close_quietly()  # a log that failed once is opened and checked anew
            raise
        except ApplianceError:
            raise
        except Exception as exc:
            fault = self._keep_fault()
            self._close_quietly()
            raise fault from exc

    def _close_quietly(self) -> None:
        """What fails while closing after a failure is not the failure to show."""
        with suppress(ApplianceError):
            self._opened.close()


def _is_done(future: Any) -> bool:
    done = threading.Event()
    future.add_done_callback(lambda _: done.set())
    return done.wait(0.1)
