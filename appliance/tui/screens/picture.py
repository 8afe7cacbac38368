"""A picture as large as the terminal allows, moved over and magnified, as a page must be."""

from collections.abc import Mapping
from typing import Any, ClassVar

from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.getters import query_one

from appliance.errors import ApplianceError
from appliance.tui import consulting
from appliance.tui.screens.room import Dialog
from appliance.tui.shown import Pixels
from appliance.tui.widgets.key_bar import KeyBar
from appliance.tui.widgets.notice import Notice
from appliance.tui.widgets.picture import PictureView
from appliance.tui.words import Words

LARGE = 1024
"""Pixels of the side at which a file is opened again."""
MOST_TIMES = 16
STEP = 0.25
"""Of what is seen, by which it is moved."""


class PictureScreen(Dialog[None]):
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("plus,equals_sign", "magnify(2)", "picture.larger", id="picture.larger"),
        Binding("minus", "magnify(0.5)", "picture.smaller", id="picture.smaller"),
        Binding("left", "move(-1,0)", "picture.move", id="picture.left", show=False),
        Binding("right", "move(1,0)", "picture.move", id="picture.right", show=False),
        Binding("up", "move(0,-1)", "picture.move", id="picture.up", show=False),
        Binding("down", "move(0,1)", "picture.move", id="picture.down", show=False),
    ]
    DEFAULT_CSS = """
    PictureScreen {
        PictureView { margin: 0 1; }
    }
    """

    view = query_one(PictureView)
    notice = query_one(Notice)

    def __init__(self, say: Words, pixels: Pixels, image: Mapping[str, Any] | None = None) -> None:
        """`image`: as in an answer, whose file is opened again at a larger size; None where
        `pixels` are all there is."""
        super().__init__(say)
        self._pixels, self._image = pixels, image
        self._times = 1.0
        self._centre = (0.5, 0.5)

    def compose(self) -> ComposeResult:
        yield PictureView(self.say, plain=self.clinic.config.plain)
        yield Notice(self.say)
        yield KeyBar()

    def on_mount(self) -> None:
        self.view.pixels = self._pixels
        if self._image is not None and self._pixels.size < LARGE:
            self._open_larger(self._image)

    @work(exclusive=True, group="larger")
    async def _open_larger(self, image: Mapping[str, Any]) -> None:
        try:
            job = consulting.larger_picture(image, LARGE)
            self._pixels = await self.clinic.side_desk.ask(job)
            self._draw()
        except ApplianceError:
            self.notice.tell(self.say("picture.as_kept"))

    def action_magnify(self, times: float) -> None:
        self._times = min(max(self._times * times, 1.0), MOST_TIMES)
        self._draw()
        self.refresh_bindings()

    def action_move(self, right: int, down: int) -> None:
        part = STEP / self._times
        x, y = self._centre
        self._centre = (x + right * part, y + down * part)
        self._draw()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action == "magnify":
            return self._times > 1 if float(str(parameters[0])) < 1 else self._times < MOST_TIMES
        return True

    def _draw(self) -> None:
        self.view.pixels, self._centre = cut(self._pixels, self._times, self._centre)


def cut(
    pixels: Pixels, times: float, centre: tuple[float, float]
) -> tuple[Pixels, tuple[float, float]]:
    """The part of a picture that is seen when it is magnified, and the centre moved so that the
    part lies in the picture."""
    part = max(1, round(pixels.size / times))
    half = part / pixels.size / 2
    x, y = (min(max(c, half), 1 - half) for c in centre)
    left, top = round((x - half) * pixels.size), round((y - half) * pixels.size)
    rows = (
        pixels.rgb[3 * (row * pixels.size + left) : 3 * (row * pixels.size + left + part)]
        for row in range(top, top + part)
    )
    shape = Pixels(b"".join(rows), part, round(pixels.width / times), round(pixels.height / times))
    return shape, (x, y)
