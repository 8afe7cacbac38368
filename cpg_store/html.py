"""Reading HTML: headings, paragraphs, list items and whole tables, as a browser would show them.

Comments, scripts, styles and hidden elements are not shown, so they are dropped, and counted where
they hold words. It runs on the standard library's parser, which opens no reference and never
fails; it knows nothing of pages: HTML has none.
"""

import re
from html.parser import HTMLParser

from cpg_store.page import Block, Page, Reading, printable
from cpg_store.raised import lowered, raised

_UNSHOWN = re.compile("script|style|template|noscript|head|svg|math|iframe|object")
_VOID = re.compile("area|base|br|col|embed|hr|img|input|link|meta|source|track|wbr")
_BREAKING = re.compile(
    "p|div|section|article|main|header|footer|nav|aside|ul|ol|dl|dt|dd|blockquote|figure|figcaption"
    "|address|details|summary|form|fieldset|pre|hr|br|li|table"
)
_CELL, _ROW = re.compile("td|th|caption"), re.compile("tr|thead|tbody|tfoot")
_ENDED_BY = {
    "head": re.compile("(?!(?:base|link|meta|noscript|script|style|template|title)$).+"),
    "p": re.compile(rf"(?!br$)(?:{_BREAKING.pattern}|h[1-6]|{_CELL.pattern}|{_ROW.pattern})"),
    "li": re.compile("li"),
    "dt": re.compile("dt|dd"),
    "dd": re.compile("dt|dd"),
    "caption": re.compile(f"{_CELL.pattern}|{_ROW.pattern}"),
    "td": re.compile(f"{_CELL.pattern}|{_ROW.pattern}"),
    "th": re.compile(f"{_CELL.pattern}|{_ROW.pattern}"),
    "tr": _ROW,
    "thead": re.compile("thead|tbody|tfoot"),
    "tbody": re.compile("thead|tbody|tfoot"),
}
"""Elements whose end may be left out, and what then ends them by beginning (HTML, "Optional tags",
html.spec.whatwg.org/multipage/syntax.html)."""
_HIDDEN_STYLE = re.compile(
    r"display\s*:\s*none|visibility\s*:\s*hidden|font-size\s*:\s*0|opacity\s*:\s*0(?:\.0*)?\s*(?:;|$)",
    re.IGNORECASE,
)
_NUMBER = re.compile(r"\s*[-+\u2212\u2013]?\d")
MAX_DEPTH = 400
"""Elements inside each other; deeper ones are read as if beside."""


def read_html(text: str) -> Reading:
    """Read an HTML document as one page without a number."""
    reader = _Reader()
    reader.feed(text)
    reader.close()
    reader.end_all()
    title = " ".join(printable(reader.title).split()) or None
    return Reading(
        pages=(Page(None, None, tuple(reader.blocks)),),
        title=title,
        aside=printable("\n".join(reader.aside)),
        hidden_spans=reader.hidden_spans,
    )


def off_the_line(tag: str, text: str) -> str:
    """The text of a `sup` or `sub` element. A number that cannot be raised stands after a caret."""
    put = raised(text) if tag == "sup" else lowered(text)
    if put is None and tag == "sup" and _NUMBER.match(text):
        return f"^{text}"
    return put or text


class _Reader(HTMLParser):
    """Gathers blocks while the parser walks through the elements."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.blocks: list[Block] = []
        self.title = ""
        self.aside: list[str] = []
        self.hidden_spans = 0
        self._open: list[tuple[str, bool]] = []
        """Elements not yet closed, and whether each, or one around it, is hidden."""
        self._text: list[str] = []
        self._off_the_line: list[int] = []
        """Where in the text gathered each open `sup` or `sub` begins."""
        self._tables = 0
        self._rows: list[list[str]] = []
        """Of the outermost open table."""
        self._head_rows = 0
        self._is_in_cell = False
        """What stands in a table and in no cell is printed before it."""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = dict(attrs)
        self._end_implied(tag)
        self._break_at(tag)
        if tag == "table":
            self._tables += 1
        elif self._tables == 1 and (_ROW.fullmatch(tag) or _CELL.fullmatch(tag)):
            self._enter_row(tag)
        elif tag == "li" and not self._is_in_cell:
            self._text = ["- "]
        elif tag in ("sup", "sub"):
            self._off_the_line.append(len(self._text))
        if _VOID.fullmatch(tag) or len(self._open) >= MAX_DEPTH:
            return
        hides = (
            bool(_UNSHOWN.fullmatch(tag))
            or "hidden" in named
            or named.get("aria-hidden") == "true"
            or bool(_HIDDEN_STYLE.search(named.get("style") or ""))
        )
        self._open.append((tag, hides or self._is_hidden()))

    def handle_endtag(self, tag: str) -> None:
        if tag == "table":
            self._end_table()
        elif self._tables == 1 and (_ROW.fullmatch(tag) or _CELL.fullmatch(tag)):
            self._end_cell()
            if tag == "thead":
                self._head_rows = len(self._rows)
        elif _level(tag) and not self._is_in_cell:
            self._end_heading(_level(tag))
        elif tag in ("sup", "sub"):
            self._end_off_the_line(tag)
        else:
            self._break_at(tag)
        if any(tag == name for name, _ in self._open):
            while self._open.pop()[0] != tag:
                pass

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1][0] == "title":
            self.title += data
        elif self._is_hidden():
            is_text = data.strip() and not any(
                name in ("script", "style", "head") for name, _ in self._open
            )
            self.hidden_spans += bool(is_text)
        else:
            self._text.append(data)

    def handle_comment(self, data: str) -> None:
        self.aside.append(data)
        self.hidden_spans += bool(data.strip())

    def end_all(self) -> None:
        """Make blocks of what is still open."""
        while self._tables:
            self._end_table()
        self._end_block()

    def _end_implied(self, tag: str) -> None:
        """End the open elements that the beginning of this one ends."""
        for name, _ in reversed(self._open):
            ended_by = _ENDED_BY.get(name)
            if ended_by and ended_by.fullmatch(tag):
                self.handle_endtag(name)
            elif _BREAKING.fullmatch(name):
                return

    def _break_at(self, tag: str) -> None:
        """End the line gathered where this element begins or ends one."""
        is_nested = self._tables > 1 and (_ROW.fullmatch(tag) or _CELL.fullmatch(tag))
        if not (_BREAKING.fullmatch(tag) or _level(tag) or is_nested):
            return
        if self._is_in_cell:
            self._text.append(" ")
        else:
            self._end_block()

    def _end_block(self) -> None:
        """Make a paragraph of the text gathered."""
        text = self._taken()
        if text.strip("- "):
            self.blocks.append(Block("paragraph", text))

    def _end_heading(self, level: int) -> None:
        text = self._taken()
        if text:
            self.blocks.append(Block("heading", text, level))

    def _enter_row(self, tag: str) -> None:
        self._end_cell()
        if tag in ("tr", "caption"):
            self._rows.append([])
        if _CELL.fullmatch(tag):
            self._end_block()
            self._is_in_cell = True
        if tag == "caption":
            self._head_rows = 2  # it and the row under it

    def _end_cell(self) -> None:
        if self._is_in_cell:
            self._is_in_cell = False
            self._rows = self._rows or [[]]
            self._rows[-1].append(self._taken())

    def _end_table(self) -> None:
        if self._tables == 1:
            self._end_cell()
            self._end_block()
            rows, self._rows = [row for row in self._rows if any(row)], []
            head_rows, self._head_rows = max(self._head_rows, 1), 0
            if rows:
                text = "\n".join(f"| {' | '.join(row)} |" for row in rows)
                self.blocks.append(Block("table", text, head_rows=head_rows))
        self._tables = max(self._tables - 1, 0)

    def _end_off_the_line(self, tag: str) -> None:
        if self._off_the_line:
            start = self._off_the_line.pop()
            self._text[start:] = [off_the_line(tag, "".join(self._text[start:]))]

    def _taken(self) -> str:
        """The text gathered, in one line; from here on it is gathered anew."""
        text, self._text, self._off_the_line = "".join(self._text), [], []
        return " ".join(printable(text).split())

    def _is_hidden(self) -> bool:
        return bool(self._open) and self._open[-1][1]


def _level(tag: str) -> int:
    return int(tag[1]) if re.fullmatch("h[1-6]", tag) else 0
