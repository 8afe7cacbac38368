"""A treatment checked against a picture: recorded, quoted, or not answered."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from stand_ins import MemoryLog, OneImage, OneReading, Shelf, ports

from appliance.cli.check import print_check
from appliance.cli.main import run
from appliance.config import Config
from appliance.core.check import Question, check
from appliance.core.consult import Stage
from appliance.core.ports import Passage
from appliance.edges.treatment_rules import read_rules
from appliance.errors import ConfigError, GuidelineError, ImageError, ModelError
from appliance.wiring import open_audit, read_audit

BOOK = read_rules(Path("no such folder"))
FREEZE = Question("spot.png", "Cryotherapy today", "78-year-old")
SURE, UNSURE = OneReading(), OneReading(scores=(-0.6, -1.4, -1.4, -1.4))


class Chapter(Shelf):
    """A guideline with the sentence on freezing."""

    def holding(self, sentence: str) -> Sequence[Passage]:
        text = (
            "Do not freeze, shave or burn\na spot that may be melanoma; the specialist team"
            " removes it whole for histology."
        )
        title = "Sample Guideline for Demonstration"
        passage = Passage("m-4", text, title, "2026", 5, "1.2", "C", "III", 0.9)
        return [passage] if sentence in " ".join(text.split()) else []


class Failing(Shelf):
    """Fails once the consultation is over."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error

    def holding(self, sentence: str) -> Sequence[Passage]:
        raise self.error


def test_an_error_is_quoted_and_recorded_without_the_persons_words() -> None:
    log = MemoryLog()
    found = check(FREEZE, ports(guidelines=Chapter(), audit=log), BOOK)
    assert found.judgement and found.judgement.verdict == "ERROR"
    assert found.judgement.severity == "critical"
    assert [passage.passage_id for _, passage in found.passages] == ["m-4"]
    kinds = [entry.kind for entry in log.entries]
    assert [kind for kind in kinds if kind != "image.opened"] == [
        *("check.asked", "caption.asked", "caption.answered", "check.done")
    ]
    assert found.entry == log.entries[-1]
    assert found.entry.body["verdict"] == "ERROR"
    assert found.entry.body["caption"] == log.entries[-2].seq
    assert "78" not in json.dumps([dict(entry.body) for entry in (log.entries[0], log.entries[3])])


def test_where_the_appliance_abstains_there_is_no_verdict_but_what_was_found() -> None:
    found = check(FREEZE, ports(captioner=UNSURE, guidelines=Chapter()), BOOK)
    assert found.consultation.decision and found.consultation.decision.kind == "abstain"
    assert found.judgement and found.judgement.verdict == "UNSURE"
    assert "abstains" in found.judgement.because
    assert [passage.passage_id for _, passage in found.passages] == ["m-4"]


@pytest.mark.parametrize(("captioner", "abstains"), [(SURE, False), (UNSURE, True)])
def test_the_command_prints_the_caption_only_where_the_appliance_does_not_abstain(
    captioner: OneReading, abstains: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    print_check(check(FREEZE, ports(captioner=captioner, guidelines=Chapter()), BOOK))
    out = capsys.readouterr().out
    assert ("irregular border" in out, "ABSTAINS" in out) == (not abstains, abstains)


def test_of_a_plan_it_says_what_fits_and_that_the_rest_is_unchecked(
    capsys: pytest.CaptureFixture[str],
) -> None:
    plan = Question("spot.png", "Excise it, then oral amoxicillin")
    found = check(plan, ports(guidelines=Chapter()), BOOK)
    assert found.judgement and found.judgement.verdict == "CORRECT"
    assert "speaks for excision for melanoma" in found.judgement.because
    assert found.unchecked == ("antibiotic",) and found.entry.body["speaks_of"] == ["excision"]
    print_check(found)
    assert "UNCHECKED     antibiotic" in capsys.readouterr().out


def test_without_a_passage_it_is_unsure() -> None:
    found = check(FREEZE, ports(guidelines=Shelf()), BOOK)
    assert found.judgement and found.judgement.verdict == "UNSURE"
    assert found.passages == ()


def test_words_that_name_no_treatment_are_unsure() -> None:
    found = check(Question("spot.png", "wait and pray"), ports(guidelines=Chapter()), BOOK)
    assert found.judgement and "no treatment was recognised" in found.judgement.reason


@pytest.mark.parametrize(
    ("treatment", "finding", "quoted"),
    [
        ("Excision is not needed", "", "excision is not needed"),
        ("Excise it", "bleeding, melanoma excluded", "melanoma excluded"),
    ],
)
def test_words_that_cannot_be_read_surely_are_unsure_and_quoted(
    treatment: str, finding: str, quoted: str
) -> None:
    found = check(Question("spot.png", treatment, finding), ports(guidelines=Chapter()), BOOK)
    assert found.judgement and found.judgement.verdict == "UNSURE"
    assert f": {quoted};" in found.judgement.because


def test_a_refused_picture_has_no_verdict_and_an_outcome() -> None:
    log = MemoryLog()
    images = OneImage(error=ImageError("it is damaged", "take another", code="image-damaged"))
    found = check(FREEZE, ports(images=images, guidelines=Chapter(), audit=log), BOOK)
    assert found.judgement is None
    assert found.entry.body["error"] == "image-damaged"


def test_guidelines_that_fail_are_an_outcome() -> None:
    log = MemoryLog()
    with pytest.raises(GuidelineError):
        check(FREEZE, ports(guidelines=Failing(GuidelineError("no", "go")), audit=log), BOOK)
    assert log.entries[-1].kind == "check.failed"


def test_a_failure_that_nobody_foresaw_is_an_outcome_when_the_log_closes(home: Path) -> None:
    config = Config(home)
    with pytest.raises(ZeroDivisionError), open_audit(config) as log:
        through = ports(guidelines=Failing(ZeroDivisionError()))
        check(FREEZE, replace(through, audit=log), BOOK)
    with read_audit(config) as kept:
        entries = {entry.kind: entry for entry in kept.entries()}
    interrupted = entries["check.interrupted"]
    assert interrupted.body == {"asked": entries["check.asked"].seq}


def test_a_check_stopped_while_it_looks_up_is_an_outcome() -> None:
    log = MemoryLog()
    stages: list[Stage] = []

    def stop(stage: Stage) -> None:
        stages.append(stage)
        if stages.count("looking up") == 2:
            raise ModelError("the reading was cancelled", "start it again", code="model-cancelled")

    with pytest.raises(ModelError):
        check(FREEZE, ports(guidelines=Chapter(), audit=log), BOOK, stop)
    assert log.entries[-1].kind == "check.failed"
    assert log.entries[-1].body == {"error": "model-cancelled"}


@pytest.mark.parametrize(
    ("treatment", "finding"), [(" ", ""), ("x" * 501, ""), ("cryotherapy", "x" * 501)]
)
def test_words_that_cannot_be_asked_are_refused(treatment: str, finding: str) -> None:
    with pytest.raises(ConfigError):
        Question("spot.png", treatment, finding)


def test_an_unlikely_label_is_not_looked_up() -> None:
    """The picture is melanoma: nothing is asked about fundus or chest."""
    shelf = Shelf()
    scores = (-0.01, -9.0, -9.0, -9.0)
    check(FREEZE, ports(captioner=OneReading(scores=scores), guidelines=shelf), BOOK)
    quotes = {rule.quote for rule in BOOK.rules if "melanoma" in rule.labels}
    assert shelf.sentences and set(shelf.sentences) <= quotes


@pytest.mark.slow
def test_the_command_checks_a_radiograph(
    chest_dicom: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["guidelines", "add", "--sample"]) == 0
    capsys.readouterr()
    assert run(["check", str(chest_dicom), "--treatment", "no antibiotics", "--json"]) == 0
    value = json.loads(capsys.readouterr().out)
    assert value["verdict"] in ("ERROR", "CORRECT", "UNSURE")
    assert value["treatments"] == ["no antibiotic"]
    assert value["consultation"]["caption"]
    for passage in value["passages"]:
        quote = " ".join(passage["quote"].split())
        assert quote.replace(";", "") in " ".join(passage["text"].split()).replace(";", "").replace(
            " |", ""
        )
    assert value["audit"]["seq"] > value["consultation"]["audit"]["seq"]
