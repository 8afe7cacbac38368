"""Choosing a picture: typed with completion, browsed to, a recent one, a dropped one."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from rich.text import Text
from textual import events, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.getters import query_one
from textual.message import Message
from textual.widget import Widget
from textual.widgets import Input, OptionList, Static
from textual.widgets.option_list import Option

from appliance.core.text import safe_line
from appliance.tui.folders import Place, common_beginning, completions, pasted_paths
from appliance.tui.words import Words

NAME = 36
"""Columns for a name."""


class PathInput(Input):
    """An input that takes dropped files, and completes with Tab."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("tab", "complete", "path.complete", id="path.complete"),
        Binding("down", "app.focus_next", "key.next", show=False, id="path.down"),
    ]

    @dataclass
    class Dropped(Message):
        paths: list[str]

    @dataclass
    class Completing(Message):
        """Tab was pressed."""

    def action_complete(self) -> None:
        self.post_message(self.Completing())

    def _on_paste(self, event: events.Paste) -> None:
        event.prevent_default()
        event.stop()
        self.post_message(self.Dropped(pasted_paths(event.text)))


class PathChooser(Widget):
    DEFAULT_CSS = """
    PathChooser {
        height: 1fr;
        padding: 1 2 0 2;
        .heading { text-style: bold; height: 1; }
        .hint { color: $quiet; height: auto; margin-bottom: 1; }
        PathInput {
            height: 1;
            border: none;
            padding: 0 1;
            background: $surface;
            &:focus { border: none; background: $panel; }
        }
        OptionList {
            height: 1fr;
            border: none;
            padding: 0;
            background: transparent;
            text-wrap: nowrap;
            text-overflow: ellipsis;
            &:focus { border: none; background-tint: transparent; }
        }
    }
    """

    @dataclass
    class Chosen(Message):
        paths: list[str]

    @dataclass
    class Listed(Message):
        """What the typed path may become, from another thread."""

        typed: str
        found: list[Place]

    path = query_one("#path", PathInput)
    entries = query_one("#entries", OptionList)
    heading = query_one("#listed", Static)

    def __init__(self, say: Words, id: str | None = None, hint: str = "choose.hint") -> None:
        """`hint`: a key of the catalogue."""
        super().__init__(id=id)
        self._say, self._hint = say, hint
        self._recent: Sequence[Place] = ()
        self._listed: list[Place] = []

    def compose(self) -> ComposeResult:
        yield Static(self._say("choose.heading"), classes="heading", markup=False)
        yield PathInput(id="path", placeholder=self._say("choose.placeholder"), compact=True)
        yield Static(self._say(self._hint), classes="hint", markup=False)
        yield Static("", classes="heading", id="listed", markup=False)
        yield OptionList(id="entries", compact=True, markup=False)

    def offer(self, recent: Sequence[Place]) -> None:
        """What to list while nothing is typed."""
        self._recent = recent
        if not self.path.value:
            self._list_recent()

    def clear(self) -> None:
        self.path.value = ""
        self._list_recent()

    def on_input_changed(self, event: Input.Changed) -> None:
        event.stop()
        if event.value:
            self._complete(event.value)
        else:
            self._list_recent()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        typed = event.value.strip()
        if typed.endswith("/") and self._listed:
            self.entries.focus()
        elif any(place.path == f"{typed}/" for place in self._listed):
            self.path.value = f"{typed}/"
            self.path.cursor_position = len(self.path.value)
        elif typed:
            self.post_message(self.Chosen([typed]))

    def on_path_input_dropped(self, event: PathInput.Dropped) -> None:
        event.stop()
        self.drop(event.paths)

    def drop(self, paths: list[str]) -> None:
        """Paths that were dropped or pasted: one is put into the input, to be looked at first."""
        if len(paths) > 1:
            self.post_message(self.Chosen(paths))
        else:
            self.path.value = paths[0]
            self.path.cursor_position = len(paths[0])
            self.path.focus()

    def on_path_input_completing(self, event: PathInput.Completing) -> None:
        event.stop()
        typed = self.path.value
        beginning = common_beginning(self._listed) if typed else ""
        if len(beginning) > len(typed):
            self.path.value = beginning
            self.path.cursor_position = len(beginning)
        else:
            self.entries.focus()

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        event.stop()
        place = self._listed[event.option_index]
        if place.is_folder:
            self.path.value = place.path
            self.path.cursor_position = len(place.path)
            self.path.focus()
        else:
            self.post_message(self.Chosen([place.path]))

    @work(thread=True, exclusive=True, group="complete")
    def _complete(self, typed: str) -> None:
        self.post_message(self.Listed(typed, completions(typed)))

    def on_path_chooser_listed(self, event: Listed) -> None:
        if event.typed == self.path.value:
            key = "choose.matches" if event.found else "choose.no_match"
            self._list(self._say(key), event.found)

    def _list_recent(self) -> None:
        key = "choose.recent" if self._recent else "choose.nothing_yet"
        self._list(self._say(key), list(self._recent))

    def _list(self, heading: str, places: list[Place]) -> None:
        self._listed = places
        self.heading.update(heading)
        self.entries.clear_options()
        self.entries.add_options([Option(_told(place)) for place in places])


def _told(place: Place) -> Text:
    name = safe_line(place.name)
    text = Text(no_wrap=True, overflow="ellipsis")
    text.append(name if len(name) <= NAME else f"{name[: NAME - 3]}...")
    if place.about:
        text.append(" " * (NAME + 2 - text.cell_len) + safe_line(place.about), "dim")
    return text
