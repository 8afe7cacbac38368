"""The little HTML that a report is made of. Text is escaped unless it is `Html` already."""

from collections.abc import Iterable, Sequence
from html import escape


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
