"""What came of a treatment's check: the verdict, what it rests on, the passages word for word."""

import re
from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from rich.console import RenderableType
from rich.text import Text
from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.reactive import reactive
from textual.widget import Widget
from textual.widgets import Static

from appliance.core.text import safe_line, safe_text
from appliance.tui.shown import Shown, decision_words
from appliance.tui.widgets.answer import limits_table
from appliance.tui.widgets.passage_row import PassageRow
from appliance.tui.words import Words

if TYPE_CHECKING:
    from appliance.core.check import Check
    from appliance.core.treatment import Judgement


class VerdictView(VerticalScroll):
    DEFAULT_CSS = """
    VerdictView {
        .over { height: 1; color: $quiet; }
        .said { height: auto; text-style: bold; }
        .block { height: auto; padding-bottom: 1; }
        .quoted { height: auto; padding: 0 0 1 3; }
        PassageRow { margin: 0; }
    }
    """

    shown: reactive[Shown | None] = reactive(None, recompose=True)
    """The picture's reading that the check rests on; set it last."""

    def __init__(self, say: Words, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._say = say
        self.found: Check | None = None

    @property
    def passages(self) -> list[dict[str, Any]]:
        """As in an answer."""
        return [asdict(passage) for _, passage in self.found.passages] if self.found else []

    def compose(self) -> ComposeResult:
        if self.found is None or self.shown is None:
            return
        if self.found.judgement is None:
            yield from self._failure(self.shown)
            return
        yield from self._verdict(self.found, self.found.judgement)
        yield from self._block("check.rests_on", self._caption(self.shown))
        if self.found.passages:
            yield self._heading("answer.passages")
        quoted = zip(self.found.passages, self.passages, strict=True)
        for rank, ((rule, _), passage) in enumerate(quoted, 1):
            yield PassageRow(self._say, rank, passage)
            yield Static(_marked(passage["text"], rule.quote), classes="quoted")
        if limits := self.shown.answer["limits"]:
            yield from self._block("answer.limits", limits_table(limits, self.shown.alarm))

    def _failure(self, shown: Shown) -> Iterator[Widget]:
        error = shown.answer["error"]
        is_refused = shown.kind == "refused"
        yield Static(
            self._say("answer.refused" if is_refused else "answer.failed"), classes="block said"
        )
        yield from self._block("answer.why", safe_text(error["message"]))
        yield from self._block("answer.do", safe_text(error["hint"]))

    def _verdict(self, found: "Check", judgement: "Judgement") -> Iterator[Widget]:
        say = self._say
        yield self._heading("check.heading")
        yield Static(say(f"check.verdict.{judgement.verdict}"), classes="said", markup=False)
        if unchecked := ", ".join(found.unchecked):
            told = say("check.unchecked", treatments=unchecked)
            yield Static(told, classes="said", markup=False)
        lines = [because_words(judgement, say)]
        if judgement.severity:
            lines.insert(0, say(f"check.severity.{judgement.severity}"))
        if found.treatments:
            lines.append(say("check.recognised", treatments=", ".join(found.treatments)))
        yield Static("\n".join(lines), classes="block", markup=False)

    def _caption(self, shown: Shown) -> str:
        """In one line; where the release abstains, that it does."""
        if not shown.has_caption:
            return decision_words(shown.answer, self._say)
        caption = shown.answer["caption"]
        told = safe_line(f"{caption['label']}: {caption['key_findings']}")
        return f"{self._say('answer.trial')}\n{told}" if shown.is_for_trial else told

    def _heading(self, key: str) -> Widget:
        return Static(self._say(key), classes="over", markup=False)

    def _block(self, heading: str, body: RenderableType) -> Iterator[Widget]:
        yield self._heading(heading)
        yield Static(body, classes="block", markup=False)


def because_words(judgement: "Judgement", say: Words) -> str:
    """The reason; in the screen's language where the catalogue has it."""
    key = f"check.reason.{judgement.reason}"
    if not say.knows(key):
        return judgement.because
    return "; ".join(say(key, **each) for each in judgement.fields)


def _marked(passage: str, quote: str) -> Text:
    """A passage's text, the sentence that decides in bold, however it is broken into lines."""
    text = Text(safe_text(passage))
    words = map(re.escape, re.findall(r"[\w/%]+", quote))
    text.highlight_regex(re.compile(r"[^\w/%]+".join(words), re.IGNORECASE), "bold")
    return text
