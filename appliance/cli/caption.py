"""`appliance caption`: pictures in, recorded answers out."""

from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import click

from appliance.cli.diagnostics import print_error, print_progress
from appliance.cli.output import (
    NOT_FOR_CLINICAL_USE,
    NOT_MEASURED,
    print_block,
    print_field,
    print_json,
    print_line,
)
from appliance.config import Config

if TYPE_CHECKING:
    from appliance.core.consult import Consultation
    from appliance.core.ports import Passage


@click.command()
@click.argument("images", nargs=-1, required=True, metavar="IMAGE...")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@click.option("--k", type=click.IntRange(0, 50), help="Passages to find.")
@click.option("--no-lookup", is_flag=True, help="Find no guideline passages.")
@click.pass_obj
def caption(
    config: Config, images: tuple[str, ...], as_json: bool, k: int | None, no_lookup: bool
) -> int:
    """Caption pictures (JPEG, PNG, TIFF, DICOM) and find the passages that apply."""
    from appliance.core.consult import consult  # with its edges: numpy, SQLite
    from appliance.wiring import open_consultation

    config = config if k is None else replace(config, passages=k)
    lookup = config.passages > 0 and not no_lookup
    worst = 0
    with open_consultation(config, lookup=lookup) as ports:
        for number, path in enumerate(images, 1):

            def progress(stage: str, number: int = number) -> None:
                print_progress(f"[{number}/{len(images)}] {stage} ...")

            result = consult(path, ports, config.passages, progress)
            print_progress("")
            if as_json:
                print_json(consultation_json(result))
            else:
                print_consultation(result, looked_up=lookup)
            if result.error is not None:
                worst = max(worst, result.error.exit_code)
    return worst


def consultation_json(result: "Consultation") -> dict[str, Any]:
    """The contract of `--json`: all keys always there, null when unknown."""
    picture, decision, entry, error = result.picture, result.decision, result.entry, result.error
    image: dict[str, Any] = {"path": result.path}
    for key in ("sha256", "kind", "width", "height", "note"):
        image[key] = getattr(picture, key) if picture else None
    return {
        "image": image,
        "caption": asdict(result.caption) if result.caption else None,
        "domain": result.domain,
        "label_probabilities": result.label_probabilities or None,
        "decision": asdict(decision) if decision else None,
        "passages": [asdict(passage) for passage in result.passages],
        "release": {
            "name": result.release.name,
            "sha256": result.release.sha256,
            "demonstration": result.release.demonstration,
        },
        "audit": {"seq": entry.seq, "hash": entry.hash} if entry else None,
        "timings_ms": result.timings_ms,
        "error": {"code": error.code, "message": error.message, "hint": error.hint}
        if error
        else None,
    }


def print_consultation(result: "Consultation", *, looked_up: bool) -> None:
    print_line(result.path)
    if result.release.demonstration:
        print_field("", NOT_FOR_CLINICAL_USE)
    if result.picture and result.picture.note:
        print_field("note", result.picture.note)
    if result.error is not None:
        print_error(result.error)
    elif result.decision is not None and result.caption is not None:
        _print_answer(result, looked_up)
    if result.entry is not None:
        print_field("record", f"entry {result.entry.seq} ({result.entry.hash[:12]})")
    print_line()


def _print_answer(result: "Consultation", looked_up: bool) -> None:
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
    print_field("probability", doubt + ", ".join(f"{name} {p:.0%}" for name, p in likeliest))
    if decision.kind == "abstain" and is_measured:
        return
    if not is_measured:
        print_field("caption", f"the model's words, {NOT_MEASURED}, for trial only:")
    if decision.kind == "set":
        print_field("caption", f"as for {caption.label}, the likeliest of these:")
    print_field("image", caption.image_type)
    print_field("region", caption.anatomical_region)
    print_field("findings", caption.key_findings)
    print_field("significance", caption.clinical_significance)
    if decision.kind == "abstain":
        return
    if looked_up and not result.passages:
        print_field("guidelines", "nothing relevant found")
    for rank, passage in enumerate(result.passages, 1):
        print_passage(rank, passage)


def print_passage(rank: int, passage: "Passage") -> None:
    """One passage verbatim, under where it stands."""
    place = [passage.document, passage.edition]
    place += [f"page {passage.page}" if passage.page else None, passage.section]
    place += [f"Grade {passage.grade}" if passage.grade else None]
    place += [f"Level {passage.evidence}" if passage.evidence else None]
    print_line()
    print_block(f"[{rank}] " + "; ".join(part for part in place if part), indent="  ")
    print_block(passage.text)
