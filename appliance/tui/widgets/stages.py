"""What is being done just now, how long it took and how long it will take."""

from collections.abc import Callable
from typing import get_args

from rich.text import Text
from textual.reactive import reactive
from textual.widget import Widget

from appliance.core.consult import Stage
from appliance.tui.words import Words

STAGES: tuple[Stage, ...] = get_args(Stage)
TICK_S = 0.5


class Stages(Widget):
    DEFAULT_CSS = """
    Stages { height: auto; }
    """

    stage: reactive[Stage | None] = reactive(None, layout=True)

    def __init__(self, say: Words, clock_s: Callable[[], float]) -> None:
        super().__init__()
        self._say, self._clock_s = say, clock_s
        self._began_s = clock_s()
        self._usual_s: float | None = None

    def on_mount(self) -> None:
        self.set_interval(TICK_S, self.refresh)

    def begin(self, usual_s: float | None) -> None:
        """`usual_s`: what a picture usually takes on this machine; None when it is not known."""
        self._began_s, self._usual_s = self._clock_s(), usual_s
        self.stage = None

    def render(self) -> Text:
        say = self._say
        now = STAGES.index(self.stage) if self.stage else -1
        lines = []
        for place, stage in enumerate(STAGES):
            state = "done" if place < now else "now" if place == now else "next"
            words = f"{say('stage.' + state):<9}{say('stage.' + stage.replace(' ', '_'))}"
            lines.append(Text(words, "bold" if state == "now" else ""))
        return Text("\n").join([*lines, Text(""), Text(self._time())])

    def _time(self) -> str:
        spent_s = self._clock_s() - self._began_s
        spent = self._say("stage.spent", seconds=int(spent_s))
        if self._usual_s is None:
            return spent
        left_s = self._usual_s - spent_s
        if left_s < 0:
            return f"{spent}; {self._say('stage.longer')}"
        return f"{spent}; {self._say('stage.left', seconds=int(left_s) + 1)}"
