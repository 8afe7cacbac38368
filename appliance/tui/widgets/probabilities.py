"""How likely each label is: its name, a bar, and the number, which alone says it all."""

from typing import ClassVar

from rich.text import Text
from textual.geometry import Size
from textual.widget import Widget

from appliance.core.text import percent
from appliance.tui.words import Words

EIGHTHS = " ▏▎▍▌▋▊▉"
FULL = "█"
LEAST_BAR = 6
"""Columns; where fewer are left there is no bar."""
MOST_BAR = 24
NUMBER = 6


class Probabilities(Widget):
    COMPONENT_CLASSES: ClassVar[set[str]] = {"probabilities--bar"}
    DEFAULT_CSS = """
    Probabilities {
        height: auto;
        .probabilities--bar { color: $primary; }
    }
    """

    def __init__(
        self,
        say: Words,
        found: list[tuple[str, float]],
        others: tuple[int, float],
        kept: tuple[str, ...],
        *,
        plain: bool,
    ) -> None:
        """`kept` are the labels of the decision, told by a mark; of `others`, which
        are not listed, the count and the sum."""
        super().__init__()
        self._say, self._found, self._others = say, found, others
        self._kept, self._plain = kept, plain

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        return len(self._lines(width))

    def render(self) -> Text:
        return Text("\n").join(self._lines(self.size.width))

    def _lines(self, width: int) -> list[Text]:
        count, share = self._others
        others = self._say("answer.others", count=count) if count else ""
        longest = max(len(name) for name in (others, *(name for name, _ in self._found)))
        names = min(longest + 2, max(width - NUMBER, 8))
        bar = min(MOST_BAR, width - names - NUMBER - 1)
        bar = 0 if self._plain or bar < LEAST_BAR else bar
        lines = [self._line(name, p, names, bar) for name, p in self._found]
        if others:
            wide = names + (bar + 1 if bar else 0)
            lines.append(Text(f"{'  ' + others:<{wide}}"[:wide] + f"{percent(share):>{NUMBER}}"))
        return lines

    def _line(self, name: str, probability: float, names: int, bar: int) -> Text:
        mark = "* " if name in self._kept else "  "
        line = Text(no_wrap=True, overflow="ellipsis")
        line.append(f"{mark + name:<{names}}"[:names], "bold" if name in self._kept else "")
        if bar:
            style = self.get_component_rich_style("probabilities--bar", partial=True)
            line.append(f" {bar_of(probability, bar)}", style)
        line.append(f"{percent(probability):>{NUMBER}}")
        return line


def bar_of(share: float, columns: int) -> str:
    """A bar of `columns` cells, `share` of it filled to an eighth of a cell."""
    eighths = round(share * columns * 8)
    full, part = divmod(eighths, 8)
    return (FULL * full + (EIGHTHS[part] if part else "")).ljust(columns)
