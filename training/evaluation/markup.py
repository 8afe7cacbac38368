"""The little HTML that a report is made of. Text is escaped unless it is `Html` already.

A document stands alone: no script, no network, no font of its own.
"""

from collections.abc import Iterable, Sequence
from html import escape

STYLE = """
:root { color-scheme: light }
body { font: 16px/1.5 system-ui, sans-serif; color: #000; background: #fff; margin: 2rem auto;
  max-width: 68rem; padding: 0 1rem }
h2 { border-bottom: 2px solid #000; margin-top: 3rem }
.wide { overflow-x: auto; margin: 1.5rem 0 }
table { border-collapse: collapse; font-variant-numeric: tabular-nums }
caption { text-align: left; font-weight: 600; padding-bottom: .4rem }
th, td { border: 1px solid #767676; padding: .2rem .6rem; text-align: left; vertical-align: middle }
thead th { background: #eee }
.confusion td { text-align: right }
.confusion thead th { writing-mode: vertical-rl; height: 9rem }
.confusion thead th:first-child { writing-mode: horizontal-tb; vertical-align: bottom }
.right { outline: 2px solid #000; outline-offset: -3px; font-weight: 700 }
.warning { border: 3px solid #000; padding: .6rem 1rem; font-weight: 700 }
.examples { display: flex; flex-wrap: wrap; gap: 1.2rem }
.examples figure { width: 14rem; margin: 0 }
figure { margin: 1.5rem 0 }
figcaption { font-size: .9rem; overflow-wrap: anywhere }
svg { max-width: 100%; height: auto; font: 12px system-ui, sans-serif }
.bar { fill: #bbb; stroke: #000 } .frame { fill: none; stroke: #000 }
.line { stroke: #000; stroke-width: 2 } .thin { stroke: #999 }
.dashed { stroke: #000; stroke-dasharray: 5 4 }
.point { fill: #000; stroke: #000; stroke-width: 2 }
.hollow { fill: #fff; stroke: #000; stroke-width: 2 }
"""
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


class Html(str):
    """Markup that is passed on as it is."""

    __slots__ = ()


def html(content: str) -> Html:
    """Markup as it is, anything else escaped."""
    return content if isinstance(content, Html) else Html(escape(content, quote=True))


def element(tag: str, content: str | Iterable[str] = "", /, **attributes: str | int) -> Html:
    """`class_` is `class`, `view_box` `viewBox`; `aria_label` is `aria-label`."""
    parts = [content] if isinstance(content, str) else content
    inside = "".join(map(html, parts))
    names = {"class_": "class", "view_box": "viewBox"}
    written = "".join(
        f' {names.get(name, name.replace("_", "-"))}="{escape(str(value), quote=True)}"'
        for name, value in attributes.items()
    )
    return Html(f"<{tag}{written}>{inside}</{tag}>")


def void(tag: str, /, **attributes: str) -> Html:
    """An element that has no content and no end."""
    return Html(element(tag, "", **attributes).removesuffix(f"</{tag}>"))


def document(title: str, content: Sequence[str]) -> str:
    """A whole page of `content`."""
    head = [
        void("meta", charset="utf-8"),
        void("meta", http_equiv="Content-Security-Policy", content=POLICY),
        void("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("title", title),
        element("style", Html(STYLE)),
    ]
    page = [element("head", head), element("body", element("main", content))]
    return f"<!DOCTYPE html>\n{element('html', page, lang='en')}\n"


def table(caption: str, head: Sequence[str], rows: Iterable[Sequence[str]]) -> Html:
    """A data table: `head` over the columns, the first cell of a row names it."""
    lines = [
        element("tr", [element("th", cells[0], scope="row"), *map(_cell, cells[1:])])
        for cells in rows
    ]
    columns = element("tr", [element("th", name, scope="col") for name in head])
    content = [
        element("caption", caption),
        element("thead", columns),
        element("tbody", lines),
    ]
    return element("div", element("table", content), class_="wide")


def _cell(content: str) -> Html:
    is_cell = isinstance(content, Html) and content.startswith("<td")
    return Html(content) if is_cell else element("td", content)
