"""Guidelines: what is indexed, which editions, what is overdue; and a search by hand."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, ClassVar

from rich.text import Text
from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, VerticalScroll
from textual.getters import query_one
from textual.widgets import Input, Static

from appliance.core.labels import DOMAINS
from appliance.core.query import KINDS, LANGUAGES, Within, typed_query
from appliance.core.text import safe_line
from appliance.errors import ApplianceError
from appliance.tui.desk import Opened
from appliance.tui.screens.quoting import Quoting
from appliance.tui.screens.room import Room
from appliance.tui.widgets.choice import Choice
from appliance.tui.widgets.passage_row import PassageRow

if TYPE_CHECKING:
    from appliance.edges.guidelines import IndexedDocument

PASSAGES = 8
"""Found by hand, at most."""


class GuidelinesScreen(Quoting[None], Room):
    NAME = "guidelines"
    CSS_PATH = "guidelines.tcss"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("slash", "search", "guidelines.search", id="guidelines.search", key_display="/"),
        Binding("d", "turn('topic')", "guidelines.topic", id="guidelines.topic"),
        Binding("t", "turn('kind')", "guidelines.kind", id="guidelines.kind"),
        Binding("l", "turn('language')", "guidelines.language", id="guidelines.language"),
        Binding("escape", "back", "guidelines.back", id="guidelines.back"),
    ]

    asked = query_one("#asked", Input)
    results = query_one("#results", VerticalScroll)

    quoted: Sequence[Mapping[str, Any]] = ()

    def contents(self) -> ComposeResult:
        say = self.say
        topics = {"": say("filter.any_domain")} | {d: say(f"domain.{d}") for d in DOMAINS}
        kinds = {"": say("filter.any_kind")} | {kind: say(f"kind.{kind}") for kind in KINDS}
        tongues = {"": say("filter.any_language")}
        tongues |= {each: say(f"language.{each}") for each in LANGUAGES}
        yield Input(id="asked", classes="field", compact=True, placeholder=say("guidelines.ask"))
        with Horizontal(id="filters"):
            yield Choice("topic", topics)
            yield Choice("kind", kinds)
            yield Choice("language", tongues)
        yield VerticalScroll(id="results")

    def on_mount(self) -> None:
        self.results.focus()
        self._list_documents()

    @work(exclusive=True, group="look")
    async def _list_documents(self) -> None:
        self.quoted = ()
        try:
            documents = await self.clinic.side_desk.ask(lambda o: o.guidelines.documents())
        except ApplianceError as exc:
            self.tell_error(exc)
            return
        await self.results.remove_children()
        say = self.say
        heading = say("guidelines.indexed", count=len(documents)) if documents else ""
        await self.results.mount(
            Static(Text(heading or say("guidelines.none")), classes="heading"),
            *(Static(self._document(each), classes="document") for each in documents),
        )
        self.refresh_bindings()

    def _document(self, document: "IndexedDocument") -> Text:
        text = Text(safe_line(document.title), "bold")
        parts = [document.edition or self.say("guidelines.no_edition")]
        if document.pages:
            parts.append(self.say("guidelines.pages", count=document.pages))
        parts.append(self.say("guidelines.passages", count=document.passages))
        text.append("\n" + safe_line("; ".join(parts)), "not bold")
        for note in document.notes:
            text.append(f"\n{self.say('passage.caution')} {safe_line(note)}")
        return text

    def action_search(self) -> None:
        self.asked.focus()

    def action_turn(self, name: str) -> None:
        self.query_one(f"#{name}", Choice).turn()

    def action_back(self) -> None:
        self.notice.clear()
        self.asked.value = ""
        self.results.focus()
        self._list_documents()

    @on(Input.Submitted)
    @on(Choice.Changed)
    def _search_changed(self) -> None:
        if self.asked.value.strip():
            self._search(self.asked.value.strip())

    @work(exclusive=True, group="look")
    async def _search(self, asked: str) -> None:
        chosen = {name: self.query_one(f"#{name}", Choice).value for name in CHOICES}
        within = Within(
            domain=chosen["topic"] or None,  # type: ignore[arg-type]
            kind=chosen["kind"] or None,  # type: ignore[arg-type]
            language=chosen["language"] or None,  # type: ignore[arg-type]
        )

        def look(opened: Opened) -> list[dict[str, Any]]:
            from appliance.core.record import recorded
            from appliance.edges.guideline_sets import set_in_use

            with recorded(opened.audit, "lookup", {"characters": len(asked)}) as outcome:
                found = opened.guidelines.find(typed_query(asked), PASSAGES, within)
                outcome["passages"] = [passage.passage_id for passage in found]
                outcome["guidelines"] = set_in_use(opened.config)
            return [asdict(passage) for passage in found]

        try:
            self.quoted = await self.clinic.side_desk.ask(look)
        except ApplianceError as exc:
            self.tell_error(exc)
            return
        self.notice.clear()
        await self.results.remove_children()
        rows = [PassageRow(self.say, n, each) for n, each in enumerate(self.quoted, 1)]
        if rows:
            await self.results.mount(*rows)
            rows[0].focus()
        else:
            await self.results.mount(Static(Text(self.say("answer.no_passages"))))
        self.refresh_bindings()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if not self.is_mounted:
            return False
        if action == "back":
            return bool(self.quoted) or self.focused is self.asked
        return True


CHOICES = ("topic", "kind", "language")
