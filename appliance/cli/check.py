"""`appliance check`: does a treatment fit what the picture shows?"""

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from appliance.cli.caption import print_passage, print_reading
from appliance.cli.diagnostics import print_error, print_progress
from appliance.cli.guard import act
from appliance.cli.output import NOT_FOR_CLINICAL_USE, print_field, print_json, print_line
from appliance.config import Config

if TYPE_CHECKING:
    from appliance.core.check import Check

ANSWERS = {
    "ERROR": "CHECK AGAIN - the guideline speaks against this treatment here",
    "CORRECT": "fits the finding, by the guideline",
    "UNSURE": "UNSURE - not settled here; decide without this check",
}


@click.command()
@click.argument("image", metavar="IMAGE")
@click.option("--treatment", required=True, metavar="TEXT", help="What is planned.")
@click.option("--finding", default="", metavar="TEXT", help="What you found yourself.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
@act("consult")
@click.pass_obj
def check(config: Config, image: str, treatment: str, finding: str, as_json: bool) -> int:
    """Check a planned treatment against a picture and the guidelines.

    The answer is to check again, that it fits, or unsure; with the passages that decide. Where no
    passage speaks of the treatment, the answer is unsure.
    """
    from appliance.core.check import Question
    from appliance.core.check import check as check_treatment
    from appliance.wiring import open_consultation, open_rules

    question = Question(image, treatment, finding)
    book = open_rules(config)
    with open_consultation(config, lookup=True) as ports:
        found = check_treatment(question, ports, book, print_progress)
    print_progress("")
    error = found.consultation.error
    if as_json:
        print_json(check_json(found))
    else:
        print_check(found)
    return error.exit_code if error else 0


def check_json(found: "Check") -> dict[str, Any]:
    """All keys always there, null when unknown."""
    from appliance.core.answer import answer_json

    judgement = found.judgement
    return {
        "verdict": judgement.verdict if judgement else None,
        "severity": judgement.severity if judgement else None,
        "reason": judgement.because if judgement else None,
        "treatments": list(found.treatments),
        "speaks_of": list(judgement.treatments) if judgement else [],
        "unchecked": list(found.unchecked),
        "stances": [asdict(stance) for stance in judgement.deciding] if judgement else [],
        "passages": [
            {"rule": rule.source, "quote": rule.quote, **asdict(passage)}
            for rule, passage in found.passages
        ],
        "consultation": answer_json(found.consultation),
        "audit": {"seq": found.entry.seq, "hash": found.entry.hash},
    }


def print_check(found: "Check") -> None:
    consultation, judgement = found.consultation, found.judgement
    print_line(consultation.path)
    if consultation.release.demonstration:
        print_field("", NOT_FOR_CLINICAL_USE)
    for limit in consultation.limits:
        print_field("limits", limit)
    if consultation.error is not None or judgement is None:
        assert consultation.error is not None
        print_error(consultation.error)
    else:
        print_field("check", ANSWERS[judgement.verdict])
        if found.unchecked:
            print_field("UNCHECKED", f"{', '.join(found.unchecked)}: decide without this check")
        if judgement.severity:
            print_field("severity", judgement.severity)
        print_field("because", judgement.because)
        if found.treatments:
            print_field("recognised", ", ".join(found.treatments))
        print_reading(consultation)
        for rank, (_, passage) in enumerate(found.passages, 1):
            print_passage(rank, passage)
    print_field("record", f"entry {found.entry.seq} ({found.entry.hash[:12]})")
