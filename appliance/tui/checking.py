"""A job for a desk: a treatment checked against a picture that was answered."""

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from appliance.core.check import Check, Question
from appliance.tui.consulting import Unchanged, UnderWay
from appliance.tui.desk import Opened

if TYPE_CHECKING:
    from appliance.core.consult import Stage


class Checking(UnderWay[Check]):
    """One check, of the picture that is on the screen and of no other."""

    def __init__(
        self, question: Question, sha256: str, on_stage: Callable[["Stage"], None]
    ) -> None:
        """`sha256`: of the picture's file when it was answered."""
        super().__init__(on_stage)
        self._question, self._sha256 = question, sha256

    def work(self, opened: Opened) -> Check:
        """Raises: ConfigError when the rules cannot be read; what `core.check` raises."""
        from appliance.core.check import check
        from appliance.edges.guideline_sets import set_in_use
        from appliance.wiring import open_rules

        book = open_rules(opened.config)
        ports = opened.ports
        ports = replace(
            ports,
            images=Unchanged(ports.images, self._sha256),
            guidelines=ports.guidelines or opened.guidelines,  # also where passages = 0
            guideline_set=set_in_use(opened.config),
            cases=None,  # the picture's own case is kept
        )
        return check(self._question, ports, book, self.step)
