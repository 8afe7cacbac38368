"""What went wrong and what to do, or what was done: it stays until the next thing is done."""

from rich.text import Text
from textual.widgets import Static

from appliance.core.text import safe_line
from appliance.errors import ApplianceError
from appliance.tui.words import Words


class Notice(Static):
    DEFAULT_CSS = """
    Notice {
        height: auto;
        max-height: 6;
        padding: 0 1;
        background: $panel;
        display: none;
    }
    Notice.-told { display: block; }
    """

    def __init__(self, say: Words) -> None:
        super().__init__()
        self._say = say

    def tell(self, text: str) -> None:
        """Of something done."""
        self._set(Text(safe_line(text)))

    def tell_error(self, error: ApplianceError) -> None:
        self._set(
            Text.assemble(
                (f"{self._say('notice.error')} ", "bold"),
                safe_line(error.message),
                "\n",
                (f"{self._say('notice.hint')} ", "bold"),
                safe_line(error.hint),
            )
        )

    def clear(self) -> None:
        self.remove_class("-told")
        self.update("")

    def _set(self, text: Text) -> None:
        self.update(text)
        self.add_class("-told")
