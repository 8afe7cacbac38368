"""A treatment checked against a picture: recorded, quoted, or not answered."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from stand_ins import MemoryLog, OneImage, OneReading, Shelf, ports

from appliance.cli.main import run
from appliance.core.check import Question, check
from appliance.core.consult import Stage
from appliance.core.ports import Passage
from appliance.core.query import GuidelineQuery
from appliance.edges.treatment_rules import read_rules
from appliance.errors import ConfigError, GuidelineError, ImageError, ModelError

BOOK = read_rules(Path("no such folder"))
FREEZE = Question("spot.png", "Cryotherapy today", "78-year-old")


class Chapter:
    """A guideline with the sentence on freezing, which any question finds."""

    def find(self, query: GuidelineQuery, k: int) -> Sequence[Passage]:
        text = (
            "Do not freeze, shave or burn\na spot that may be melanoma; the specialist team"
            " removes it whole for histology."
        )
        return [Passage("m-4", text, "Guide", "2026", 5, "1.2", "C", "III", 0.9)]


class NoGuidelines:
    """Fails once the consultation, which asks for no passage here, is over."""

    def find(self, query: GuidelineQuery, k: int) -> Sequence[Passage]:
        if k:
            raise GuidelineError("the index is damaged", "rebuild it")
        return []


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
    unsure = OneReading(scores=(-0.6, -1.4, -1.4, -1.4))
    found = check(FREEZE, ports(captioner=unsure, guidelines=Chapter()), BOOK)
    assert found.consultation.decision and found.consultation.decision.kind == "abstain"
    assert found.judgement and found.judgement.verdict == "UNSURE"
    assert "abstains" in found.judgement.because
    assert [passage.passage_id for _, passage in found.passages] == ["m-4"]


def test_without_a_passage_it_is_unsure() -> None:
    found = check(FREEZE, ports(guidelines=Shelf()), BOOK)
    assert found.judgement and found.judgement.verdict == "UNSURE"
    assert found.passages == ()


def test_words_that_name_no_treatment_are_unsure() -> None:
    found = check(Question("spot.png", "wait and pray"), ports(guidelines=Chapter()), BOOK)
    assert found.judgement and "no treatment was recognised" in found.judgement.reason


def test_a_refused_picture_has_no_verdict_and_an_outcome() -> None:
    log = MemoryLog()
    images = OneImage(error=ImageError("it is damaged", "take another", code="image-damaged"))
    found = check(FREEZE, ports(images=images, guidelines=Chapter(), audit=log), BOOK)
    assert found.judgement is None
    assert found.entry.body["error"] == "image-damaged"


def test_guidelines_that_fail_are_an_outcome() -> None:
    log = MemoryLog()
    with pytest.raises(GuidelineError):
        check(FREEZE, ports(guidelines=NoGuidelines(), audit=log), BOOK)
    assert log.entries[-1].kind == "check.failed"


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
    assert shelf.queries and all(query.startswith("melanoma") for query in shelf.queries)


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
