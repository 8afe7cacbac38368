"""`appliance atlas`: reference cases that look alike, as teaching material."""

import textwrap
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import asdict
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from appliance.cli.guard import act
from appliance.cli.output import (
    WIDTH,
    print_block,
    print_drawing,
    print_field,
    print_json,
    print_line,
)
from appliance.config import Config
from appliance.core.text import safe_line

if TYPE_CHECKING:
    from collections.abc import Iterator

    from appliance.core.atlas import Atlas, AtlasCard, Neighbour
    from appliance.core.atlas_search import AskedPicture
    from appliance.core.ports import AuditLog

IMAGE = click.argument("image", metavar="IMAGE")
K = click.option("--k", type=click.IntRange(1, 50), default=5, show_default=True, help="Cases.")
COLUMN = (WIDTH - 4) // 2
"""Characters of one of two columns."""
JSON = click.option("--json", "as_json", is_flag=True, help="One JSON object.")


@click.group()
def atlas() -> None:
    """Find reference cases with a known label. Teaching material, not a patient's result."""


@atlas.command("similar")
@IMAGE
@K
@JSON
@act("atlas")
@click.pass_obj
def find_similar(config: Config, image: str, k: int, as_json: bool) -> None:
    """Cases that look like IMAGE."""
    from appliance.core.atlas_search import search_similar

    with _opened(config) as (opened, audit):
        found = search_similar(opened, audit, _asked(config, image), k)
    if as_json:
        print_json({"image": image, **_said(opened), "cases": _json_cases(found)})
        return
    _print_opening(opened.card)
    _print_found(found, "no case of this atlas is like it")


@atlas.command("find")
@click.argument("text", nargs=-1, required=True)
@K
@JSON
@act("atlas")
@click.pass_obj
def find_text(config: Config, text: tuple[str, ...], k: int, as_json: bool) -> None:
    """Cases that fit TEXT, in English."""
    from appliance.core.atlas_search import search_words

    asked = _typed(text)
    with _opened(config) as (opened, audit):
        found = search_words(opened, audit, asked, k)
    if as_json:
        print_json({"text": asked, **_said(opened), "cases": _json_cases(found)})
        return
    _print_opening(opened.card)
    _print_found(found, "nothing found")


@atlas.command("contrast")
@click.argument("text", nargs=-1, required=True)
@click.option("--plus", multiple=True, metavar="TEXT", help="Add this to the query.")
@click.option("--minus", multiple=True, metavar="TEXT", help="Take this from it.")
@K
@JSON
@act("atlas")
@click.pass_obj
def find_contrast(
    config: Config,
    text: tuple[str, ...],
    plus: tuple[str, ...],
    minus: tuple[str, ...],
    k: int,
    as_json: bool,
) -> None:
    """Cases for TEXT beside cases for TEXT with something added or taken away."""
    from appliance.core.atlas_search import search_contrast

    if not plus and not minus:
        raise click.UsageError("give --plus TEXT or --minus TEXT")
    asked = _typed(text)
    added, taken = list(map(_plain, plus)), list(map(_plain, minus))
    with _opened(config) as (opened, audit):
        found = search_contrast(opened, audit, asked, added, taken, k)
    if as_json:
        print_json(
            {
                "text": asked,
                "plus": plus,
                "minus": minus,
                **_said(opened),
                "cases": _json_cases(found.original),
                "changed": _json_cases(found.changed),
            }
        )
        return
    _print_opening(opened.card)
    change = "".join([*(f" + {each}" for each in plus), *(f" - {each}" for each in minus)])
    _print_beside((asked, found.original), (asked + change, found.changed))


@atlas.command("describe")
@IMAGE
@K
@JSON
@act("atlas")
@click.pass_obj
def describe_image(config: Config, image: str, k: int, as_json: bool) -> None:
    """What the cases nearest to IMAGE have in common, and a second search with that."""
    from appliance.core.atlas_search import search_description

    with _opened(config) as (opened, audit):
        found = search_description(opened, audit, _asked(config, image), k)
    if as_json:
        print_json(
            {
                "image": image,
                **_said(opened),
                "label": found.label if found else None,
                "agreeing": found.agreeing if found else 0,
                "statements": [asdict(each) for each in found.statements] if found else [],
                "cases": _json_cases(found.first) if found else [],
                "second": _json_cases(found.second) if found else [],
            }
        )
        return
    _print_opening(opened.card)
    if found is None:
        print_line("no case of this atlas is like it")
        return
    print_field("nearest", f"{found.agreeing} of {len(found.first)} are {found.label}")
    for statement in found.statements:
        cases = ", ".join(case_id[:8] for case_id in statement.case_ids)
        print_field("they state", f"{statement.text} (cases {cases})")
    if not found.statements:
        print_field("they state", "no finding in common")
    print_line()
    print_line("first, by the picture:")
    print_cases(found.first)
    print_line("then, by the picture and these words:")
    print_cases(found.second)


@atlas.command("show")
@JSON
@act("atlas")
@click.pass_obj
def show(config: Config, as_json: bool) -> None:
    """What the atlas holds, where from, and on what terms."""
    from appliance.wiring import open_atlas

    with open_atlas(config) as opened:
        card = opened.card
    if as_json:
        print_json(asdict(card))
        return
    _print_opening(card)
    for label, count in card.cases_by_label.items():
        print_field(str(count), label)
    for source in card.sources:
        print_line()
        print_field("source", source.title)
        print_field("by", source.attribution)
        print_field("licence", source.licence)


@atlas.command("add")
@click.argument("folder", type=click.Path(path_type=Path))
@act("release.change")
@click.pass_obj
def add(config: Config, folder: Path) -> None:
    """Take the atlas in FOLDER for the release in use; it takes the place of the one before."""
    from appliance.wiring import add_atlas

    card = add_atlas(config, folder)
    print_line(f"added: {card.name}, {card.cases} cases")


def _typed(words: Sequence[str]) -> str:
    return _plain(" ".join(words))


def _plain(text: str) -> str:
    return text.encode("utf-8", "replace").decode()  # a paste may be no UTF-8


@contextmanager
def _opened(config: Config) -> "Iterator[tuple[Atlas, AuditLog]]":
    from appliance.wiring import open_atlas, open_audit

    with open_audit(config) as audit, open_atlas(config) as opened:
        yield opened, audit


def _asked(config: Config, image: str) -> "AskedPicture":
    from appliance.core.atlas_search import AskedPicture
    from appliance.wiring import open_images

    return AskedPicture(lambda size: open_images(config.burned_in_text).open(image, size))


def _said(opened: "Atlas") -> dict[str, Any]:
    from appliance.core.atlas import TEACHING

    return {
        "teaching": TEACHING,
        "atlas": {"name": opened.card.name, "sha256": opened.card.sha256},
    }


def _json_cases(found: Sequence["Neighbour"]) -> list[dict[str, Any]]:
    from appliance.core.atlas import neighbour_json

    return [neighbour_json(neighbour) for neighbour in found]


def _print_opening(card: "AtlasCard") -> None:
    from appliance.core.atlas import TEACHING

    print_line(TEACHING)
    print_line(f"atlas {card.name}, {card.cases} cases ({card.sha256[:12]})")
    print_line()


def _print_found(found: Sequence["Neighbour"], none: str) -> None:
    print_cases(found)
    if not found:
        print_line(none)


def print_cases(found: Sequence["Neighbour"]) -> None:
    """Label, caption and source of each, nearest first."""
    for rank, neighbour in enumerate(found, 1):
        case = neighbour.case
        print_block(f"[{rank}] {case.label} ({neighbour.cosine:.2f})", indent="  ")
        print_block(case.caption)
        print_block(f"{case.source.title}, picture {case.row}; {case.source.licence}")
        print_line()


def _print_beside(*sides: tuple[str, Sequence["Neighbour"]]) -> None:
    """Two results in two columns, rank beside rank."""
    _print_columns(*(textwrap.wrap(safe_line(title), COLUMN) for title, _ in sides))
    print_line()
    for rank, pair in enumerate(zip_longest(*(found for _, found in sides)), 1):
        _print_columns(*(_cell(rank, neighbour) for neighbour in pair))


def _cell(rank: int, neighbour: "Neighbour | None") -> list[str]:
    if neighbour is None:
        return []
    case = neighbour.case
    title = safe_line(f"[{rank}] {case.label} ({neighbour.cosine:.2f})")
    indent = " " * 4
    return [
        *textwrap.wrap(title, COLUMN),
        *textwrap.wrap(
            safe_line(case.findings), COLUMN, initial_indent=indent, subsequent_indent=indent
        ),
    ]


def _print_columns(*columns: Sequence[str]) -> None:
    rows = zip_longest(*columns, fillvalue="")
    print_drawing(f"  {left:<{COLUMN}}  {right}".rstrip() for left, right in rows)
