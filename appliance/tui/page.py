"""One page on paper: decision, caption, citations and the record's number, and no identifier.

Neither the file's name, the clinic's reference nor the note is on it: whoever prints it may write
them there by hand.
"""

import html
import os
import textwrap
from collections.abc import Iterator

from appliance.core.text import percent, safe_line
from appliance.errors import ConfigError
from appliance.tui.shown import Shown, cited_words, decision_words
from appliance.tui.widgets.answer import reason_words
from appliance.tui.words import Words

WIDTH = 78
STYLE = (
    "body{font:11pt/1.4 serif;max-width:17cm;margin:1.5cm auto}h1{font-size:14pt}"
    "dt{font-weight:bold}dd{margin:0 0 .6em}.warn{border:2px solid;padding:.3em .6em}"
)
Line = tuple[str, str]
"""A heading, or none, and what stands under it."""


def page_text(shown: Shown, say: Words) -> str:
    lines = []
    for heading, body in _lines(shown, say):
        if heading:
            lines.append(heading)
        indent = "  " if heading else ""
        lines += textwrap.wrap(body, WIDTH, initial_indent=indent, subsequent_indent=indent)
        lines.append("")
    return "\n".join(lines)


def page_html(shown: Shown, say: Words) -> str:
    """One file that needs no other."""
    parts = []
    for heading, body in _lines(shown, say):
        told = html.escape(body)
        is_warning = body in (say("answer.demonstration"), say("answer.trial"))
        if heading:
            parts.append(f"<dt>{html.escape(heading)}</dt><dd>{told}</dd>")
        else:
            parts.append(f'<p class="warn">{told}</p>' if is_warning else f"<h1>{told}</h1>")
    return (
        f'<!doctype html><html lang="{say.language}"><meta charset="utf-8">'
        f"<title>{html.escape(say('page.title'))}</title><style>{STYLE}</style>"
        f"<body>{''.join(parts)}</body></html>\n"
    )


def write_page(path: str, text: str) -> None:
    """A new file that only its owner may read. Raises: ConfigError."""
    try:
        given = os.path.expanduser(path)  # noqa: PTH111 - a Path fails on a name that is nobody's
        descriptor = os.open(given, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode=0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError as exc:
        raise ConfigError(f"the file is there already: {path}", "give another name") from exc
    except OSError as exc:
        raise ConfigError(
            f"the page cannot be written ({exc.strerror}): {path}",
            "give a name in a folder of your own",
        ) from exc


def _lines(shown: Shown, say: Words) -> Iterator[Line]:
    answer = shown.answer
    yield "", say("page.title")
    if shown.is_demonstration:
        yield "", say("answer.demonstration")
    if shown.record:
        yield (
            say("page.record"),
            say("page.record_of", number=shown.record[0], hash=shown.record[1]),
        )
    yield say("page.when"), shown.at[:16].replace("T", " ") + " UTC"
    release = answer["release"]
    yield say("page.release"), f"{release['name']} ({release['sha256'][:12]})"
    yield say("answer.decision"), decision_words(answer, say)
    if answer["error"] is not None:
        yield say("answer.do"), safe_line(answer["error"]["hint"])
        return
    yield say("page.reason"), reason_words(answer["decision"]["reason"], say)
    found, _ = shown.probabilities()
    yield say("answer.probabilities"), ", ".join(f"{name} {percent(p)}" for name, p in found)
    if answer["image"]["note"]:
        yield say("page.picture"), safe_line(answer["image"]["note"])
    for limit in answer["limits"]:
        yield say("answer.limits"), safe_line(limit)
    if shown.has_caption:
        yield from _caption(shown, say)
    if shown.verdict:
        yield say("page.verdict"), say(f"verdict.{shown.verdict}")
    for rank, passage in enumerate(shown.passages, 1):
        yield say("page.citation", rank=rank), cited_words(passage, say)


def _caption(shown: Shown, say: Words) -> Iterator[Line]:
    """As the release said it; what the clinician set right stands under it."""
    caption, corrected = shown.answer["caption"], shown.corrected or {}
    if shown.is_for_trial:
        yield "", say("answer.trial")
    elif shown.kind == "set":
        yield say("answer.caption"), say("answer.as_for", label=caption["label"])
    for field, words in caption.items():
        yield say(f"caption.{field}"), safe_line(words)
        if corrected.get(field, words) != words:
            told = say("answer.corrected", text=safe_line(corrected[field]))
            yield say(f"caption.{field}"), told
