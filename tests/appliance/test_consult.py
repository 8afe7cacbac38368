"""The one path: what is recorded, what is shown, what is refused."""

from dataclasses import replace

import pytest
from stand_ins import CAPTION, SURE_SCORES, MemoryLog, OneImage, OneReading, Shelf, ports

from appliance.core.answer import answer_json, caption_to_show
from appliance.core.atlas import AtlasCard, Neighbour, Vector
from appliance.core.caption import caption_json
from appliance.core.consult import consult
from appliance.core.gate import NOT_FITTED, Refusal
from appliance.core.ports import CANCELLED, Picture, Reading
from appliance.core.scope import NOT_WRITTEN
from appliance.edges.case_store import UnopenedCases
from appliance.errors import AuditError, CaseError, ImageError, ModelError


def test_an_answer_is_recorded_before_it_is_given() -> None:
    audit, shelf = MemoryLog(), Shelf()
    result = consult("x.png", ports(audit=audit, guidelines=shelf), k=2)
    assert result.caption == CAPTION
    assert result.decision is not None and result.decision.labels == ("melanoma",)
    assert [passage.passage_id for passage in result.passages] == ["melanoma-0", "melanoma-1"]
    kinds = [entry.kind for entry in audit.entries]
    assert kinds == ["caption.asked", "image.opened", "caption.answered"]
    opened, answered = (entry.body for entry in audit.entries[1:])
    assert opened == {"image": answered["image"], "kind": "PNG"}
    assert (answered["release"], answered["prompt"], answered["structure"]) == ("ab" * 32, 1, 1)
    assert result.entry == audit.entries[-1]
    assert audit.entries[-1].body["passages"] == ["melanoma-0", "melanoma-1"]


@pytest.mark.parametrize("full_at", [1, 2, 3])
def test_nothing_is_given_that_could_not_be_recorded(full_at: int) -> None:
    with pytest.raises(AuditError):
        consult("x.png", ports(audit=MemoryLog(full_at)), k=2)


def test_a_refused_picture_is_an_outcome() -> None:
    audit = MemoryLog()
    images = OneImage(error=ImageError("no such image: x.png", "check", code="image-missing"))
    result = consult("x.png", ports(images=images, audit=audit), k=2)
    assert result.error is not None and result.error.code == "image-missing"
    assert audit.entries[-1].body["error"] == "image-missing"
    assert result.caption is None and result.label_probabilities == {}


def test_a_blank_picture_is_refused() -> None:
    result = consult("x.png", ports(images=OneImage(measures={"spread": 0.0})), k=2)
    assert result.error is not None and result.error.code == "image-blank"


def test_prose_instead_of_a_caption_is_an_error() -> None:
    captioner = OneReading("I see a mole.")
    result = consult("x.png", ports(captioner=captioner), k=2)
    assert result.error is not None and result.error.code == "caption-format"


def test_prose_is_asked_for_once_more_with_nothing_kept() -> None:
    class Recovering(OneReading):
        def read(self, picture: Picture, *, anew: bool = False) -> Reading:
            return Reading(caption_json(CAPTION), SURE_SCORES) if anew else self.reading

    result = consult("x.png", ports(captioner=Recovering("I see a mole.")), k=2)
    assert result.error is None and result.caption == CAPTION


class SecondFrame(OneImage):
    def open(self, path: str, size: int) -> Picture:
        return replace(super().open(path, size), note="only the first of 2 frames was read")


def test_what_one_was_warned_of_is_recorded_without_a_path() -> None:
    """Whoever purges the case can still show it. An error's message may name a folder."""
    audit = MemoryLog()
    opened = replace(
        ports(images=SecondFrame(), audit=audit),
        atlas=Unlooked("model-crash"),
        cases=UnopenedCases(CaseError("no room: /home/siti/cases", "make room")),
    )
    result = consult("x.png", opened, k=2)
    assert result.limits[-1] == "recorded, but not kept as a case: no room: /home/siti/cases"
    body = audit.entries[-1].body
    assert body["limits"] == [
        NOT_WRITTEN,
        NOT_FITTED,
        "no reference cases: model-crash",
        "recorded, but not kept as a case: case",
    ]
    assert body["note"] == "only the first of 2 frames was read"
    consult("x.png", ports(images=OneImage(error=ImageError("none", "check")), audit=audit), k=2)
    assert (audit.entries[-1].body["limits"], audit.entries[-1].body["note"]) == ([], None)


def test_an_abstention_looks_nothing_up() -> None:
    shelf = Shelf()
    captioner = OneReading(caption_json(CAPTION), (-1.0, -1.0, -1.0, -1.0))
    result = consult("x.png", ports(captioner=captioner, guidelines=shelf), k=2)
    assert result.decision is not None and result.decision.kind == "abstain"
    assert result.error is None and not result.passages and not shelf.queries


class Unlooked:
    """An atlas for which the model fails."""

    card = AtlasCard("unlooked", "ef" * 32, 0, {}, (), 4, 0.5)

    def __init__(self, code: str) -> None:
        self._code = code

    def features(self, picture: Picture) -> Vector:
        raise ModelError("the model's process stopped", "try again", code=self._code)

    def refusal(self, picture: Picture, features: Vector) -> Refusal | None:
        return None

    def of_features(self, features: Vector) -> Vector:
        return features

    def of_text(self, text: str) -> Vector:
        return ()

    def nearest(self, vector: Vector, k: int) -> tuple[Neighbour, ...]:
        return ()


def test_a_model_that_fails_for_the_atlas_takes_nothing_from_the_answer() -> None:
    result = consult("x.png", replace(ports(), atlas=Unlooked("model-crash")), k=2)
    assert result.error is None and result.caption == CAPTION and result.entry is not None
    assert result.limits[-1] == "no reference cases: the model's process stopped"


@pytest.mark.parametrize("scores", [SURE_SCORES, (-1.0, -1.0, -1.0, -1.0)])
def test_what_was_stopped_has_no_caption_to_show(scores: tuple[float, ...]) -> None:
    stopped = replace(ports(captioner=OneReading(scores=scores)), atlas=Unlooked(CANCELLED))
    result = consult("x.png", stopped, k=2)
    assert result.error is not None and result.error.code == CANCELLED
    assert result.caption is not None and caption_to_show(answer_json(result)) is None


def test_a_set_looks_every_label_up_in_turn() -> None:
    shelf = Shelf()
    captioner = OneReading(caption_json(CAPTION), (-0.5, -1.0, -9.0, -9.0))
    result = consult("x.png", ports(captioner=captioner, guidelines=shelf), k=3)
    assert [passage.passage_id for passage in result.passages] == [
        "melanoma-0",
        "melanocytic nevus-0",
        "melanoma-1",
    ]


def test_the_record_holds_no_path_and_no_bare_image_hash() -> None:
    audit = MemoryLog()
    consult("/patients/Ali bin Abu/eye.png", ports(audit=audit), k=0)
    written = repr(audit.entries)
    assert "Ali" not in written and "eye.png" not in written and "cd" * 32 not in written
    assert audit.entries[-1].body["image"] == "marked cdcd"
