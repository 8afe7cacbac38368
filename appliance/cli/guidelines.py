"""`appliance guidelines` and `appliance lookup`: the clinic's guideline documents."""

import os
import re
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

import click

from appliance.cli.caption import print_passage
from appliance.cli.diagnostics import print_error, print_note
from appliance.cli.guard import act
from appliance.cli.output import print_json, print_line, print_row
from appliance.config import Config
from appliance.core.labels import DOMAINS
from appliance.core.query import KINDS, LANGUAGES
from appliance.errors import GuidelineError


@click.group()
def guidelines() -> None:
    """Add, list, remove and check guideline documents; choose which set of them answers."""


@guidelines.command("add")
@click.argument("files", nargs=-1, metavar="FILE...")
@click.option("--sample", is_flag=True, help="Add the sample guideline of the demonstration.")
@click.option("--title", help="Title, if the document does not say it well (one FILE).")
@click.option("--edition", help="Edition, likewise.")
@click.option("--superseded-by", metavar="EDITION", help="What took its place, if anything has.")
@click.option("--review-due", metavar="DATE", type=click.DateTime(["%Y-%m-%d"]), help="YYYY-MM-DD.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@act("guideline.change")
@click.pass_obj
def add(
    config: Config,
    files: tuple[str, ...],
    sample: bool,
    title: str | None,
    edition: str | None,
    superseded_by: str | None,
    review_due: datetime | None,
    as_json: bool,
) -> int:
    """Index guideline documents (PDF, Markdown, HTML). Adding one again only notes what is given.

    One that a kit brought is the clinic's own, too, once it is added: it stays when another set
    is put in use.
    """
    from appliance.core.record import recorded
    from appliance.edges.guideline_sets import note_as_clinics
    from appliance.wiring import open_audit, open_guidelines  # with Chroma and SQLite

    paths = [Path(file) for file in files]
    if sample:
        from cpg_store.sample import sample_guideline

        paths.append(sample_guideline())
    if not paths:
        raise click.UsageError("give a FILE, or --sample")
    if (title or edition or superseded_by or review_due) and len(paths) > 1:
        raise click.UsageError("--title, --edition and the like go with one FILE")
    worst = 0
    with (
        open_audit(config) as audit,
        open_guidelines(config, create=not config.guidelines) as index,
    ):
        for path in paths:
            try:
                with recorded(audit, "guideline.add", {}) as outcome:
                    added = index.add(
                        path,
                        title=title,
                        edition=edition,
                        superseded_by=superseded_by,
                        review_due=review_due.date() if review_due else None,
                    )
                    note_as_clinics(config, index, added.document_id)
                    outcome.update(document=added.document_id, new=added.is_new)
            except GuidelineError as exc:
                print_error(exc)
                worst = max(worst, exc.exit_code)
                continue
            if as_json:
                print_json(asdict(added))
                continue
            state = "added" if added.is_new else "already indexed"
            pages = f", {added.pages} pages" if added.pages else ""
            print_line(f"{state}: {added.title} ({added.passages} passages{pages})")
            for note in added.notes:
                print_note(f"note: {note}")
    return worst


@guidelines.command("list")
@click.option("--set", "name", metavar="NAME", help="Of this set; default: the one in use.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@act("guideline.read")
@click.pass_obj
def list_documents(config: Config, name: str | None, as_json: bool) -> None:
    """Documents in the index of the set in use, or of another."""
    from appliance.edges.guideline_sets import has_index, of_set, set_in_use, waiting_documents
    from appliance.wiring import open_guidelines

    wanted = of_set(config, name) if name else config
    waiting = waiting_documents(wanted)
    documents = []
    if has_index(wanted) or not waiting:
        with open_guidelines(wanted) as index:
            documents = index.documents()
    if not as_json:
        state = "in use" if set_in_use(wanted) == set_in_use(config) else "not in use"
        print_note(f"set {set_in_use(wanted)}, {state}")
    for document in documents:
        if as_json:
            print_json({"set": set_in_use(wanted), **asdict(document)})
        else:
            edition = f", {document.edition}" if document.edition else ""
            count = f"{document.passages} passages"
            print_line(f"{document.document_id}  {document.title}{edition} ({count})")
    for path in waiting:
        print_note(f"indexed when the set is put in use: {path}")


@guidelines.command("sets")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@act("guideline.read")
@click.pass_obj
def list_sets(config: Config, as_json: bool) -> None:
    """The clinic's own documents, and the sets that kits brought; the one in use is marked."""
    from appliance.edges.guideline_sets import (
        has_index,
        of_set,
        set_in_use,
        set_names,
        waiting_documents,
    )
    from appliance.edges.guidelines import IndexContent
    from appliance.wiring import open_guidelines

    for name in set_names(config):
        wanted = of_set(config, name)
        content, waiting = IndexContent((), ""), len(waiting_documents(wanted))
        try:
            if has_index(wanted) or not waiting:
                with open_guidelines(wanted) as index:
                    content = index.content()
        except GuidelineError as exc:
            print_error(exc)
            continue
        is_in_use = name == set_in_use(config)
        if as_json:
            print_json({"set": name, "in_use": is_in_use, **asdict(content), "waiting": waiting})
        else:
            said = f"{name}: {len(content.documents)} documents"
            said += f", {content.sha256[:12]}" if content.documents else ""
            said += f", {waiting} to be indexed when it is put in use" if waiting else ""
            print_row(("in use" if is_in_use else "", 6), (said, 0))


@guidelines.command("activate")
@click.argument("name")
@act("guideline.activate")
@click.pass_obj
def activate(config: Config, name: str) -> None:
    """Let the set NAME answer from now on; where people sign in, two must agree.

    The clinic's own documents go along. To go back, activate the set before, or `own`.
    """
    from appliance.wiring import activate_guidelines

    change = activate_guidelines(config, name)
    before = change.before.documents if change.before else ()
    after = change.after.documents
    print_line(f"{name} is in use: {len(after)} documents, {change.after.sha256[:12]}")
    print_line(
        f"{len(set(after) - set(before))} of them are new; "
        f"{len(set(before) - set(after))} of those before answer no more"
    )
    print_note("open windows of the appliance answer from the set before until they are closed")
    if os.environ.get("APPLIANCE_GUIDELINES"):
        print_note("APPLIANCE_GUIDELINES is set, and counts more than the setting")


@guidelines.command("remove")
@click.argument("document_id")
@click.confirmation_option(prompt="Remove this document from the index?")
@act("guideline.change")
@click.pass_obj
def remove(config: Config, document_id: str) -> None:
    """Remove one document (its id is in `guidelines list`)."""
    from appliance.core.record import recorded
    from appliance.wiring import open_audit, open_guidelines

    with (
        open_audit(config) as audit,
        open_guidelines(config) as index,
        recorded(audit, "guideline.remove", {"document": _loggable(document_id)}),
    ):
        index.remove(document_id)
    print_line(f"removed: {document_id}")


def _loggable(document_id: str) -> str:
    """The id, or nothing where something else was typed: the log keeps no free text."""
    return document_id if re.fullmatch("[0-9a-f]{16}", document_id) else ""


@guidelines.command("check")
@act("guideline.read")
@click.pass_obj
def check(config: Config) -> int:
    """Check that the index is whole."""
    from appliance.wiring import open_guidelines

    with open_guidelines(config) as index:
        problems = index.check()
    for problem in problems:
        print_line(problem)
    if not problems:
        print_line("the index is whole")
    return 1 if problems else 0


@guidelines.command("rebuild")
@act("guideline.change")
@click.pass_obj
def rebuild(config: Config) -> None:
    """Make the vectors anew, with the embedder that is set; lookups go on meanwhile."""
    from appliance.core.record import recorded
    from appliance.wiring import open_audit, open_guidelines

    with (
        open_audit(config) as audit,
        open_guidelines(config, to_rebuild=True) as index,
        recorded(audit, "guideline.rebuild", {}) as outcome,
    ):
        index.rebuild()
        outcome["documents"] = len(index.documents())
    print_line(f"rebuilt: {outcome['documents']} documents")


@click.command()
@click.argument("text", nargs=-1, required=True)
@click.option("--k", type=click.IntRange(1, 50), help="Passages to find.")
@click.option("--document", "document_id", help="Only this document (ids: `guidelines list`).")
@click.option("--domain", type=click.Choice(DOMAINS), help="Only passages on this.")
@click.option("--kind", type=click.Choice(KINDS), help="Only passages of this kind.")
@click.option("--grade", help="Only recommendations of this grade, as A, strong or conditional.")
@click.option("--language", type=click.Choice(LANGUAGES), help="Only passages in this language.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@act("lookup")
@click.pass_obj
def lookup(
    config: Config, /, text: tuple[str, ...], k: int | None, as_json: bool, **within: Any
) -> None:
    """Find guideline passages for TEXT."""
    from appliance.core.query import Within, typed_query
    from appliance.core.record import recorded
    from appliance.edges.guideline_sets import set_in_use
    from appliance.wiring import open_audit, open_guidelines

    query = " ".join(text).encode("utf-8", "replace").decode()  # a paste may be no UTF-8
    with (
        open_audit(config) as audit,
        open_guidelines(config) as index,
        recorded(audit, "lookup", {"characters": len(query)}) as outcome,
    ):
        passages = index.find(typed_query(query), k or config.passages or 3, Within(**within))
        outcome["passages"] = [passage.passage_id for passage in passages]
        outcome["guidelines"] = set_in_use(config)
    for rank, passage in enumerate(passages, 1):
        if as_json:
            print_json({"guidelines": set_in_use(config), **asdict(passage)})
        else:
            print_passage(rank, passage)
    if not as_json:
        if not passages:
            print_line("nothing relevant found")
        print_note(f"looked up in the set {set_in_use(config)}")
