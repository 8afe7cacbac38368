"""Reading Markdown: headings, paragraphs, list items and whole tables.

Front matter and comments are not printed, so they are dropped, and so are pictures written into the
text; HTML tags inside the text are taken off and their headings and tables kept. It knows nothing
of pages: Markdown has none.
"""

import re
from collections.abc import Iterator
from html import escape, unescape

from cpg_store.html import off_the_line, read_html
from cpg_store.page import Block, Page, Reading, printable

_FRONT_MATTER = re.compile(r"\A---\n(?P<fields>.*?)\n---\n", re.DOTALL)
_TITLE = re.compile(r"^title:\s*[\"']?(?P<title>.+?)[\"']?\s*$", re.MULTILINE)
_COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
_EMBEDDED = re.compile(
    r"!\[(?P<words>[^\]\n]*)\]\(\s*<?data:[^)]*\)|\bdata:[\w.+-]+/[\w.+-]+;[^\s)>\"']*"
)
"""A picture as text (RFC 2397): its words are kept, its bytes are not for readers."""
_HEADING = re.compile(r"^ {0,3}(?P<marks>#{1,6})\s+(?P<title>.+?)\s*#*\s*$")
_LIST_ITEM = re.compile(r"^\s*(?:[-*+•]|\d{1,3}[.)])\s")
_TABLE_ROW = re.compile(r"^\s*\|.*\|\s*$")

_TABLE_RULE = re.compile(r"^\|[\s:|-]+\|$")

_HTML_HEADING = re.compile(r"<h([1-6])[^>]*>(.*?)</h\1>", re.DOTALL | re.IGNORECASE)
_HTML_TABLE = re.compile(
    r"<table\b.*?(?:</table\s*>|(?=\n {0,3}#{1,6}\s)|\Z)", re.DOTALL | re.IGNORECASE
)
"""One that is not closed ends before the next heading."""
_HTML_OFF_THE_LINE = re.compile(r"<(su[bp])\b[^>]*>(.{0,200}?)</\1\s*>", re.DOTALL | re.IGNORECASE)
_HTML_ITEM = re.compile(r"<li[^>]*>", re.IGNORECASE)
_HTML_BLOCK = re.compile(r"</?(?:p|div|ul|ol|li|br|section|blockquote)\b[^>]*>", re.IGNORECASE)
_HTML_TAG = re.compile(r"</?[a-z][^<>]*>", re.IGNORECASE)


def read_markdown(text: str) -> Reading:
    """Read a Markdown document as one page without a number."""
    text = printable(text.replace("\r\n", "\n").replace("\r", "\n"))
    front = _FRONT_MATTER.match(text)
    named = _TITLE.search(front["fields"]) if front else None
    text = text[front.end() :] if front else text
    comments = [comment for comment in _COMMENT.findall(text) if len(comment.split()) > 3]
    body = _EMBEDDED.sub(_words_of, _COMMENT.sub("", text))
    tables = [read_html(table) for table in _HTML_TABLE.findall(body)]
    prose = [_prose(between) for between in _HTML_TABLE.split(body)]
    blocks = (*prose[0], *_alternating(tables, prose[1:]))
    title = named["title"] if named else _first_title(blocks)
    return Reading(
        pages=(Page(None, None, blocks),),
        title=title,
        aside="\n".join(comment.strip("<!->") for comment in comments),
        hidden_spans=len(comments) + sum(table.hidden_spans for table in tables),
    )


def _words_of(embedded: re.Match[str]) -> str:
    return embedded["words"] or ""


def _alternating(tables: list[Reading], prose: list[tuple[Block, ...]]) -> Iterator[Block]:
    for table, after in zip(tables, prose, strict=True):
        yield from table.pages[0].blocks
        yield from after


def _prose(text: str) -> tuple[Block, ...]:
    return tuple(_block(lines) for lines in _gather(_without_html(text).split("\n")))


def _without_html(text: str) -> str:
    """Rewrite the HTML that Markdown allows, but for tables, as Markdown."""
    text = _HTML_OFF_THE_LINE.sub(_off_the_line, text)
    text = _HTML_HEADING.sub(
        lambda found: f"\n\n{'#' * int(found[1])} {_inline(found[2])}\n\n", text
    )
    text = _HTML_ITEM.sub("\n- ", text)
    return unescape(_HTML_TAG.sub("", _HTML_BLOCK.sub("\n\n", text)))


def _off_the_line(found: re.Match[str]) -> str:
    words = unescape(_HTML_TAG.sub("", found[2]))
    return escape(off_the_line(found[1].lower(), words), quote=False)


def _inline(html: str) -> str:
    return " ".join(_HTML_TAG.sub(" ", html).split())


def _gather(lines: list[str]) -> Iterator[list[str]]:
    """Group lines that make one block."""
    group: list[str] = []
    for line in lines:
        if group and _starts_block(line, group[-1]):
            yield group
            group = []
        if line.strip():
            group.append(line)
    if group:
        yield group


def _starts_block(line: str, last: str) -> bool:
    if not line.strip() or _HEADING.match(line) or _HEADING.match(last) or _LIST_ITEM.match(line):
        return True
    return bool(_TABLE_ROW.match(line)) != bool(_TABLE_ROW.match(last))


def _block(lines: list[str]) -> Block:
    heading = _HEADING.match(lines[0])
    if heading:
        return Block("heading", " ".join(heading["title"].split()), len(heading["marks"]))
    if _TABLE_ROW.match(lines[0]):
        return _table(lines)
    return Block("paragraph", "\n".join(line.strip() for line in lines))


def _table(lines: list[str]) -> Block:
    rows = [line.strip() for line in lines]
    ruled = next((at for at, row in enumerate(rows) if _TABLE_RULE.match(row)), 0)
    return Block("table", "\n".join(rows), head_rows=ruled + 1)


def _first_title(blocks: tuple[Block, ...]) -> str | None:
    return next((each.text for each in blocks if each.kind == "heading" and each.level == 1), None)
