"""One of a few values, shown in one line; a key or a click turns to the next."""

from collections.abc import Mapping
from dataclasses import dataclass

from textual.message import Message
from textual.widgets import Static


class Choice(Static):
    DEFAULT_CSS = """
    Choice {
        width: auto;
        height: 1;
        margin-right: 2;
        &:hover { text-style: underline; }
    }
    """

    @dataclass
    class Changed(Message):
        name: str
        value: str

    def __init__(self, name: str, values: Mapping[str, str]) -> None:
        """`values`: what is shown by value, in the order in which they are turned through."""
        super().__init__(next(iter(values.values())), id=name, markup=False)
        self._values = dict(values)
        self.value = next(iter(values))

    def offer(self, values: Mapping[str, str]) -> None:
        """Other values; the one that is chosen stays, also when it is not among them."""
        chosen = {self.value: self._values[self.value]}
        self._values = {**values, **({} if self.value in values else chosen)}

    def turn(self) -> None:
        keys = list(self._values)
        self.value = keys[(keys.index(self.value) + 1) % len(keys)]
        self.update(self._values[self.value])
        self.post_message(self.Changed(str(self.id), self.value))

    def on_click(self) -> None:
        self.turn()
