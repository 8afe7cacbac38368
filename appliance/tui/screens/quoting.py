"""What a screen that quotes passages can do with them: open one in full, copy where it stands."""

from collections.abc import Mapping, Sequence
from typing import Any, Generic

from textual.binding import Binding
from textual.getters import query_one

from appliance.tui.screens.room import Result, View
from appliance.tui.shown import cited_words
from appliance.tui.widgets.notice import Notice
from appliance.tui.widgets.passage_row import PassageRow

NUMBERS = tuple(
    Binding(str(n), f"passage({n})", f"passage.{n}", id=f"passage.{n}", show=False)
    for n in range(1, 10)
)
"""The keys, for the BINDINGS of such a screen."""


class Quoting(View[Result], Generic[Result]):
    notice = query_one(Notice)

    @property
    def quoted(self) -> Sequence[Mapping[str, Any]]:
        """The passages in rank order, as in an answer."""
        raise NotImplementedError

    def action_passage(self, rank: int) -> None:
        from appliance.tui.screens.passage import PassageScreen

        if rank <= len(self.quoted):
            self.app.push_screen(PassageScreen(self.say, self.quoted, rank))

    def on_passage_row_opened(self, event: PassageRow.Opened) -> None:
        self.action_passage(event.rank)

    def on_passage_row_copied(self, event: PassageRow.Copied) -> None:
        self.app.copy_to_clipboard(cited_words(self.quoted[event.rank - 1], self.say))
        self.notice.tell(self.say("passage.copied"))

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action == "passage":
            return self.is_mounted and int(str(parameters[0])) <= len(self.quoted)
        return True
