"""`appliance caption`: pictures in, recorded answers out."""

import io
import sys
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from appliance.cli.atlas import print_cases
from appliance.cli.diagnostics import print_error, print_note
from appliance.cli.guard import act
from appliance.cli.output import (
    FOR_TRIAL,
    NOT_FOR_CLINICAL_USE,
    NOT_MEASURED,
    print_block,
    print_field,
    print_json,
    print_line,
)
from appliance.config import Config
from appliance.core.text import percent

if TYPE_CHECKING:
    from collections.abc import Sequence

    from appliance.core.atlas import Neighbour
    from appliance.core.consult import Consultation
    from appliance.core.ports import Passage


@click.command()
@click.argument("images", nargs=-1, required=True, metavar="IMAGE...")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write JSON lines there; what is answered in it is not asked again.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@click.option("--k", type=click.IntRange(0, 50), help="Passages to find.")
@click.option("--no-lookup", is_flag=True, help="Find no guideline passages.")
@click.option("--find-text", "burned_text", flag_value="report", help="Count text in the picture.")
@click.option("--mask-text", "burned_text", flag_value="mask", help="Paint text in it over.")
@act("consult")
@click.pass_obj
def caption(
    config: Config,
    images: tuple[str, ...],
    out: Path | None,
    as_json: bool,
    k: int | None,
    no_lookup: bool,
    burned_text: str | None,
) -> int:
    """Caption pictures (JPEG, PNG, TIFF, WebP, BMP, DICOM) and find the passages that apply.

    Instead of an IMAGE: a folder, searched with its subfolders; a text file with a path a line; `-`
    for such lines from standard input. With --out, a run that was stopped goes on where it was.
    """
    from appliance.cli.batch import caption_each
    from appliance.core.answer import answer_json
    from appliance.edges.picture_paths import find_pictures
    from appliance.edges.result_file import ResultFile
    from appliance.wiring import open_consultation  # with its edges: numpy, SQLite

    passages = config.passages if k is None else k
    config = config if burned_text is None else replace(config, burned_in_text=burned_text)
    lookup = passages > 0 and not no_lookup
    standard_input = sys.stdin.buffer if sys.stdin else io.BytesIO()  # None when it was closed
    found = find_pictures(images, standard_input)
    with ExitStack() as stack:
        ports = stack.enter_context(open_consultation(config, lookup=lookup))
        release = ports.captioner.release
        kept = stack.enter_context(ResultFile(out, release.sha256, config.risk)) if out else None

        def show(result: "Consultation") -> None:
            if kept is not None:
                kept.add(answer_json(result))
            elif as_json:
                print_json(answer_json(result))
            else:
                print_consultation(result, looked_up=lookup)

        is_answered = kept.holds if kept else lambda path: False
        tally = caption_each(found.paths, ports, passages, is_answered, show)
    if len(found.paths) > 1 or out:
        print_note(tally.summary(found.passed_over))
    if tally.is_stopped:
        raise KeyboardInterrupt
    return tally.worst


def print_consultation(result: "Consultation", *, looked_up: bool) -> None:
    print_line(result.path)
    if result.release.demonstration:
        print_field("", NOT_FOR_CLINICAL_USE)
    if result.picture and result.picture.note:
        print_field("note", result.picture.note)
    for limit in result.limits:
        print_field("limits", limit)
    if result.error is not None:
        print_error(result.error)
    elif result.decision is not None and result.caption is not None:
        _print_answer(result, looked_up)
    if result.neighbours:
        _print_beside(result.neighbours)
    if result.entry is not None:
        print_field("record", f"entry {result.entry.seq} ({result.entry.hash[:12]})")
    if result.case_id is not None:
        print_field("case", result.case_id)
    print_line()


def _print_beside(neighbours: "Sequence[Neighbour]") -> None:
    from appliance.core.atlas import TEACHING

    print_line()
    print_line(TEACHING)
    print_cases(neighbours)


def _print_answer(result: "Consultation", looked_up: bool) -> None:
    assert result.decision is not None
    print_reading(result)
    if result.decision.kind == "abstain":
        return
    if looked_up and not result.passages:
        print_field("guidelines", "nothing relevant found")
    for rank, passage in enumerate(result.passages, 1):
        print_passage(rank, passage)
    if result.passages:
        print_line()
        print_field("guidelines", f"set {result.guideline_set}")


def print_reading(result: "Consultation") -> None:
    """Decision, probabilities and caption of a picture that was read; where a measured release
    abstains, no caption."""
    decision, caption = result.decision, result.caption
    assert decision is not None and caption is not None
    answer = {
        "label": "".join(decision.labels),
        "set": "one of: " + ", ".join(decision.labels),
        "abstain": "ABSTAINS - refer, or take another picture",
    }[decision.kind]
    print_field("decision", f"{answer} ({decision.reason})")
    likeliest = sorted(result.label_probabilities.items(), key=lambda item: -item[1])[:3]
    is_measured = bool(result.domain and result.release.calibration.thresholds[result.domain])
    doubt = "" if is_measured else f"{NOT_MEASURED}: "
    shares = (f"{name} {percent(p).replace(' ', '')}" for name, p in likeliest)
    print_field("probability", doubt + ", ".join(shares))
    if decision.kind == "abstain" and is_measured:
        return
    if not is_measured:
        print_field("caption", FOR_TRIAL)
    if decision.kind == "set":
        print_field("caption", f"as for {caption.label}, the likeliest of these:")
    print_field("image", caption.image_type)
    print_field("region", caption.anatomical_region)
    print_field("findings", caption.key_findings)
    print_field("significance", caption.clinical_significance)


def print_passage(rank: int, passage: "Passage") -> None:
    """One passage verbatim, under where it stands."""
    place = [passage.document, passage.edition]
    place += [_pages(passage), passage.section]
    if passage.grading == "grade":
        place += [f"{passage.grade} recommendation" if passage.grade else None, passage.evidence]
    else:
        place += [f"Grade {passage.grade}" if passage.grade else None]
        place += [f"Level {passage.evidence}" if passage.evidence else None]
    print_line()
    print_block(f"[{rank}] " + "; ".join(part for part in place if part), indent="  ")
    if passage.caution:
        print_block(f"CAUTION: {passage.caution}", indent="  ")
    if passage.kind == "figure":
        print_block("(a figure: its words as they stand, see the page itself)", indent="  ")
    print_block(passage.text)


def _pages(passage: "Passage") -> str | None:
    """The physical page, and the printed number where it is another."""
    if passage.page is None:
        return None
    runs_over = passage.last_page and passage.last_page != passage.page
    pages = f"pages {passage.page}-{passage.last_page}" if runs_over else f"page {passage.page}"
    is_other = passage.page_label and passage.page_label != str(passage.page)
    return f"{pages} (printed {passage.page_label})" if is_other else pages
