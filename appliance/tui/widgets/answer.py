"""An answer whole: picture and facts at the left, what was found at the right."""

from collections.abc import Iterator, Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text
from textual.app import ComposeResult
from textual.containers import Container, Vertical, VerticalScroll
from textual.reactive import reactive
from textual.widget import Widget
from textual.widgets import Static

from appliance.core.text import safe_line, safe_text
from appliance.tui.shown import Shown, decision_words
from appliance.tui.widgets.case_row import CaseRow
from appliance.tui.widgets.passage_row import PassageRow
from appliance.tui.widgets.picture import PictureView
from appliance.tui.widgets.probabilities import Probabilities
from appliance.tui.words import Words

SHOWN_FIELDS = ("image_type", "anatomical_region", "key_findings", "clinical_significance")


class Found(VerticalScroll):
    """Takes the keys as soon as it is there, so that it can be scrolled at once."""

    def on_mount(self) -> None:
        self.focus()


class AnswerView(Widget):
    DEFAULT_CSS = """
    AnswerView {
        layout: vertical;
        height: 1fr;

        .demonstration {
            height: 1;
            padding: 0 1;
            text-style: bold;
            background: $warning;
            color: $warning-ink;
        }
        .answer { layout: horizontal; height: 1fr; padding: 1 1 0 1; }
        .side { width: 26; height: 1fr; margin-right: 2; }
        .side PictureView { height: auto; max-height: 13; }
        .facts { height: auto; padding-top: 1; color: $quiet; }
        .found { width: 1fr; height: 1fr; }
        .said { width: 1fr; height: auto; }
        .passages { width: 1fr; height: auto; }
        .over { height: 1; color: $quiet; }
        .decision { height: auto; text-style: bold; }
        .refused { margin-bottom: 1; }
        .block { height: auto; padding-bottom: 1; }
        Probabilities { margin-bottom: 1; }
    }
    """

    shown: reactive[Shown | None] = reactive(None, recompose=True)

    def __init__(self, say: Words, *, plain: bool, id: str | None = None) -> None:
        super().__init__(id=id)
        self._say, self._plain = say, plain

    def compose(self) -> ComposeResult:
        if self.shown is None:
            return
        shown = self.shown
        if shown.is_demonstration:
            yield Static(self._say("answer.demonstration"), classes="demonstration")
        with Container(classes="answer"):
            with Vertical(classes="side"):
                if shown.pixels:
                    picture = PictureView(self._say, plain=self._plain)
                    picture.pixels = shown.pixels
                    yield picture
                yield Static(self._facts(shown), classes="facts")
            with Found(classes="found"):
                with Vertical(classes="said"):
                    yield from self._said(shown)
                if shown.kind in ("label", "set") or shown.cases:
                    with Vertical(classes="passages"):
                        yield from self._passages(shown)
                        yield from self._cases(shown)

    def _facts(self, shown: Shown) -> Text:
        say, image = self._say, shown.answer["image"]
        lines = [Text(shown.name, "bold", overflow="ellipsis", no_wrap=True)]
        if image["kind"]:
            size = f"{image['width']} x {image['height']}"
            lines.append(Text(f"{image['kind']}, {size}"))
        if image["note"]:
            lines.append(Text(safe_line(image["note"])))
        if shown.record:
            lines.append(Text(say("answer.record", number=shown.record[0], hash=shown.record[1])))
        if shown.passages:
            lines.append(Text(say("answer.passage_keys", count=len(shown.passages))))
        if shown.reference:
            lines.append(Text(say("answer.reference", text=safe_line(shown.reference))))
        if shown.note:
            lines.append(Text(say("answer.note", text=safe_line(shown.note))))
        if shown.verdict:
            lines.append(Text(say(f"verdict.{shown.verdict}"), "bold"))
        if shown.impression:
            lines.append(Text(say("answer.impression", label=safe_line(shown.impression))))
        return Text("\n").join(lines)

    def _said(self, shown: Shown) -> Iterator[Widget]:
        say, answer = self._say, shown.answer
        if answer["error"] is not None:
            heading = "answer.refused" if shown.kind == "refused" else "answer.failed"
            yield Static(Text(say(heading)), classes="decision refused")
            yield from self._block("answer.why", Text(safe_text(answer["error"]["message"])))
            yield from self._block("answer.do", Text(safe_text(answer["error"]["hint"])))
        else:
            yield from self._decision(shown)
            found, others = shown.probabilities()
            kept = tuple(answer["decision"]["labels"])
            yield self._heading("answer.probabilities")
            yield Probabilities(say, found, others, kept, plain=self._plain)
        if answer["limits"]:
            yield from self._block("answer.limits", limits_table(answer["limits"], shown.alarm))
        if shown.has_caption:
            yield from self._block("answer.caption", *self._caption(shown))

    def _decision(self, shown: Shown) -> Iterator[Widget]:
        say = self._say
        yield self._heading("answer.decision")
        yield Static(Text(decision_words(shown.answer, say)), classes="decision")
        reason = Text(reason_words(shown.answer["decision"]["reason"], say))
        if shown.kind == "abstain":
            reason.append("\n" + say("answer.abstain_do"))
        yield Static(reason, classes="block")

    def _caption(self, shown: Shown) -> Iterator[RenderableType]:
        say, caption = self._say, shown.answer["caption"]
        if shown.is_for_trial:
            yield Text(say("answer.trial"), "bold")
        elif shown.kind == "set":
            yield Text(say("answer.as_for", label=caption["label"]))
        fields = Table.grid(padding=(0, 1))
        fields.add_column(no_wrap=True)
        fields.add_column()
        corrected = shown.corrected or {}
        for field in SHOWN_FIELDS:
            fields.add_row(say(f"caption.{field}"), safe_line(caption[field]))
            if corrected.get(field, caption[field]) != caption[field]:
                text = say("answer.corrected", text=safe_line(corrected[field]))
                fields.add_row("", Text(text, "bold"))
        if corrected.get("label", caption["label"]) != caption["label"]:
            fields.add_row(say("caption.label"), Text(safe_line(corrected["label"]), "bold"))
        yield fields

    def _passages(self, shown: Shown) -> Iterator[Widget]:
        if shown.kind not in ("label", "set"):
            return
        if not shown.passages:
            yield from self._block("answer.passages", Text(self._say("answer.no_passages")))
            return
        name = shown.answer.get("guidelines")  # a case kept by an older version does not say
        yield self._heading("answer.passages", f" ({name})" if name else "")
        for rank, passage in enumerate(shown.passages, 1):
            yield PassageRow(self._say, rank, passage)

    def _cases(self, shown: Shown) -> Iterator[Widget]:
        if shown.cases:
            yield Static(Text(self._say("atlas.teaching")), classes="teaching")
            yield Static(Text(self._say("atlas.key")), classes="block over")
        for rank, case in enumerate(shown.cases, 1):
            yield CaseRow(self._say, rank, case)

    def _heading(self, key: str, more: str = "") -> Widget:
        return Static(Text(self._say(key) + more), classes="over")

    def _block(self, heading: str, *body: RenderableType) -> Iterator[Widget]:
        yield self._heading(heading)
        yield Static(Group(*body), classes="block")


def limits_table(limits: Sequence[str], alarm: str | None = None) -> Table:
    """`alarm`: the one of them that is to be seen first."""
    table = Table.grid(padding=(0, 1, 0, 0))
    for limit in limits:
        table.add_row("-", Text(safe_line(limit), "bold" if limit == alarm else ""))
    return table


def reason_words(reason: str, say: Words) -> str:
    """The reason that the core gives; in the screen's language where the catalogue has it."""
    key = f"reason.{reason}"
    return say(key) if say.knows(key) else reason
