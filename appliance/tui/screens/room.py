"""What every screen has: the bar of screens, a notice, the footer; and every word from the
catalogue."""

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar, Generic, TypeVar, cast

from textual.app import ComposeResult
from textual.binding import ActiveBinding, Binding, BindingType
from textual.containers import Vertical
from textual.getters import query_one
from textual.screen import ModalScreen, Screen

from appliance.errors import ApplianceError
from appliance.tui.widgets.key_bar import KeyBar
from appliance.tui.widgets.notice import Notice
from appliance.tui.widgets.top_bar import TopBar
from appliance.tui.words import Words

if TYPE_CHECKING:
    from appliance.tui.app import ClinicScreen

Result = TypeVar("Result")


class View(Screen[Result], Generic[Result]):
    """What all screens have: the words they say, in their footer too, and the clinic's own app."""

    say: Words

    @property
    def clinic(self) -> "ClinicScreen":
        return cast("ClinicScreen", self.app)

    @property
    def active_bindings(self) -> dict[str, ActiveBinding]:
        return translated(super().active_bindings, self.say)


class Room(View[None]):
    """One of the screens in the bar."""

    AUTO_FOCUS = ""
    NAME: ClassVar[str]
    """Its mode, and its key under `room` in the catalogue."""

    bar = query_one(TopBar)
    notice = query_one(Notice)

    def __init__(self, say: Words) -> None:
        super().__init__()
        self.say = say

    def compose(self) -> ComposeResult:
        yield TopBar(self.say, self.clinic.rooms(), self.NAME, self.clinic.who())
        with Vertical(classes="contents"):
            yield from self.contents()
        yield Notice(self.say)
        yield KeyBar()

    def contents(self) -> ComposeResult:
        raise NotImplementedError

    def tell(self, text: str) -> None:
        self.notice.tell(text)

    def tell_error(self, error: ApplianceError) -> None:
        self.notice.tell_error(error)


class Dialog(ModalScreen[Result], View[Result]):
    """A screen on top of another, that gives a result or nothing; Escape gives nothing."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "close", "dialog.close", id="dialog.close"),
    ]

    def __init__(self, say: Words) -> None:
        super().__init__()
        self.say = say

    def action_close(self) -> None:
        self.dismiss(None)


def translated(bindings: Mapping[str, ActiveBinding], say: Words) -> dict[str, ActiveBinding]:
    """Bindings name their description's key in the catalogue; the library's own stay so."""
    return {
        key: active._replace(binding=_described(active.binding, say))
        for key, active in bindings.items()
    }


def _described(binding: Binding, say: Words) -> Binding:
    """In few words for the footer; as the tooltip, in full for the palette."""
    key, in_full = f"does.{binding.description}", f"in_full.{binding.description}"
    if not say.knows(key):
        return binding
    return replace(
        binding, description=say(key), tooltip=say(in_full if say.knows(in_full) else key)
    )
