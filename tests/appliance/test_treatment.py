"""What guidelines say of a treatment, and what the picture leaves of it."""

from collections.abc import Iterable
from pathlib import Path

import pytest

from appliance.core.check import denied_labels, passages_of, stated_labels
from appliance.core.labels import Label, LabelSet
from appliance.core.query import GuidelineQuery
from appliance.core.treatment import (
    OPERATING_POINT,
    LabelStance,
    Rule,
    RuleBook,
    judge,
    stances,
)
from appliance.edges.treatment_rules import read_rules
from appliance.errors import ConfigError
from tests.treatment_scenarios import SAMPLE, Scenario, read_scenarios

BOOK = read_rules(Path("no such folder"))
FREEZE = Rule(("melanoma",), ("cryotherapy",), "against", "critical", "Do not freeze", "Guide, 1")
PDR = "proliferative diabetic retinopathy"
LEAVE = Rule(("nevus",), ("cryotherapy",), "for", "moderate", "Freeze at will", "Guide, 2")


def rules_of(document: str) -> tuple[Rule, ...]:
    return tuple(rule for rule in BOOK.rules if rule.source.startswith(f"{document},"))


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("Cryotherapy, then reassure", ("cryotherapy", "reassurance")),
        ("do not give  antibiotics", ("no antibiotic",)),
        ("oral AMOXICILLIN 40 mg/kg", ("antibiotic",)),
        ("withhold oral amoxicillin", ("no antibiotic",)),
        ("stop insulin until seen", ("no insulin",)),
        ("avoid delay: refer to ophthalmology", ("eye clinic referral",)),
        ("urgent referral to ophthalmology", ("urgent eye referral",)),
        ("frozen peas and a burnt hand", ()),
        ("co amoxiclav", ("antibiotic",)),
        ("Don\u2019t give antibiotics", ("no antibiotic",)),
        ("jangan beri antibiotik", ("no antibiotic",)),
        ("tidak perlu antibiotik", ("no antibiotic",)),
        ("no need for antibiotics", ("no antibiotic",)),
        ("no further oral antibiotics", ("no antibiotic",)),
        ("never freeze it", ("no cryotherapy",)),
        ("not for cryotherapy", ("no cryotherapy",)),
        ("home care w/o antibiotics", ("home care", "no antibiotic")),
        ("no antibiotics or insulin", ("no antibiotic", "no insulin")),
        ("no antibiotics but home care", ("no antibiotic", "home care")),
    ],
)
def test_treatments_are_recognised_in_a_persons_words(text: str, named: tuple[str, ...]) -> None:
    assert BOOK.treatments_in(text) == named


@pytest.mark.parametrize(
    "text",
    [
        "Antibiotics not needed",
        "oral amoxicillin is contraindicated",
        "antibiotik tidak perlu",
        "x perlu antibiotik",
        "she hasn't had antibiotics",
        "antibiotics: no",
        "without steroids, antibiotics",
        "instead of antibiotics, home care",
        "delay cataract surgery",
        "do not stop insulin",
        "no antibiotics, home care",
        "do not freeze, shave or burn",
    ],
)
def test_words_that_may_leave_a_treatment_out_or_not_are_unclear(text: str) -> None:
    assert BOOK.unclear_in(text, "") == text.casefold()


@pytest.mark.parametrize(
    "text",
    [
        "home care, no antibiotics",
        "refer to hospital without delay",
        "do not delay antibiotics",
        "oral amoxicillin 38.2 mg. Return if not better",
        "reassure, no treatment",
        "no antibiotics; home care",
    ],
)
def test_other_negating_words_leave_a_plan_clear(text: str) -> None:
    assert BOOK.unclear_in(text, "") == ""


def test_a_sign_that_is_denied_is_not_there() -> None:
    assert BOOK.signs_in("cough, no fast breathing; chest indrawing") == ("pneumonia sign",)
    for finding in ("no fast breathing or chest indrawing", "denies convulsions", "non-diabetic"):
        assert BOOK.signs_in(finding) == ()


@pytest.mark.parametrize(
    ("finding", "is_clear"),
    [
        ("fast breathing absent", False),
        ("no fast breathing, chest indrawing", False),
        ("diabetes not controlled", True),  # on which nothing of antibiotics hangs
        ("fast breathing, not lethargic", True),
    ],
)
def test_a_sign_is_to_be_read_surely_where_a_rule_hangs_on_it(finding: str, is_clear: bool) -> None:
    assert (BOOK.unclear_in("antibiotics", finding) == "") is is_clear


@pytest.mark.parametrize(
    ("finding", "signs"),
    [
        ("saturation 84", ("danger sign",)),
        ("SpO\u2082: 89 %", ("danger sign",)),
        ("oxygen saturation under 90", ("danger sign",)),
        ("oxygen saturation on air is 90", ()),
        ("BP 210/130, headache", ("pressure crisis",)),
        ("blood pressure 150 / 125", ("pressure crisis",)),
        ("blood pressure 172/102, vision 20/200", ()),
    ],
)
def test_a_number_stands_for_a_sign_on_one_side_of_its_limit(
    finding: str, signs: tuple[str, ...]
) -> None:
    assert BOOK.signs_in(finding) == signs


def test_a_rule_is_kept_to_its_signs() -> None:
    rule = Rule(("a",), ("t",), "for", "high", "q", "s", when=("x", "y"), unless=("z",))
    assert rule.applies(["y"])
    assert not rule.applies([])
    assert not rule.applies(["x", "z"])


def test_no_passage_no_verdict() -> None:
    found = judge(stances({"melanoma": 0.99, "nevus": 0.01}, ["cryotherapy"], []))
    assert (found.verdict, found.deciding) == ("UNSURE", ())


@pytest.mark.parametrize(
    ("melanoma", "verdict", "severity"),
    [
        (0.95, "ERROR", "critical"),
        (0.5, "UNSURE", None),
        (0.08, "UNSURE", None),
        (0.02, "CORRECT", None),
    ],
)
def test_the_verdict_follows_the_picture(
    melanoma: float, verdict: str, severity: str | None
) -> None:
    """The same words, other probabilities: at 0.08 it is likely right, but a critical error."""
    chances = {"melanoma": melanoma, "nevus": 1 - melanoma}
    found = judge(stances(chances, ["cryotherapy"], [FREEZE, LEAVE]))
    assert (found.verdict, found.severity) == (verdict, severity)


def test_a_treatment_of_unlikely_labels_only_is_unsure() -> None:
    chances = {"melanoma": OPERATING_POINT.heard / 2, "other": 1 - OPERATING_POINT.heard / 2}
    assert judge(stances(chances, ["cryotherapy"], [FREEZE])).verdict == "UNSURE"


def test_of_a_plan_only_what_the_guideline_speaks_for_is_called_correct() -> None:
    found = judge(stances({"nevus": 0.95, "melanoma": 0.05}, ["cryotherapy", "insulin"], [LEAVE]))
    assert (found.verdict, found.treatments) == ("CORRECT", ("cryotherapy",))
    assert found.because == "the guideline speaks for cryotherapy for nevus (95%)"


def test_treatments_that_fit_other_findings_each_do_not_fit_together() -> None:
    rules = [
        Rule((label,), (f"treatment of {label}",), "for", "high", label, "Guide")
        for label in ("nevus", "wart", "cyst")
    ]
    plan = [f"treatment of {label}" for label in ("nevus", "wart", "cyst")]
    for nevus, alone in ((0.4, "CORRECT"), (0.3, "UNSURE")):
        chances = {"nevus": nevus, "wart": nevus * 0.75, "cyst": nevus * 0.75, "other": 0.01}
        assert judge(stances(chances, plan, rules)).verdict == "UNSURE"
        assert judge(stances(chances, plan[:1], rules)).verdict == alone
    chances = {"nevus": 0.3, "wart": 0.15, "other": 0.55}
    assert judge(stances(chances, plan, rules)).verdict == "UNSURE"


def test_a_treatment_that_the_guideline_speaks_of_both_ways_is_not_called_correct() -> None:
    both = Rule(("nevus",), ("cryotherapy", "shave"), "for", "high", "Freeze or shave", "Guide, 2")
    against = Rule(("nevus",), ("shave",), "against", "high", "Do not shave", "Guide, 3")
    found = judge(stances({"nevus": 1.0}, ["cryotherapy", "shave"], [both, against]))
    assert (found.verdict, found.treatments) == ("CORRECT", ("cryotherapy",))


def test_an_error_names_the_treatment_that_is_spoken_against() -> None:
    refer = Rule(("melanoma",), ("referral",), "for", "high", "Refer", "Guide, 4")
    found = judge(stances({"melanoma": 1.0}, ["referral", "cryotherapy"], [FREEZE, refer]))
    assert (found.verdict, found.treatments) == ("ERROR", ("cryotherapy",))
    assert "against cryotherapy for melanoma" in found.because


@pytest.mark.parametrize(
    ("source", "title", "cites"),
    [
        ("Guide, 1", "Guide", True),
        ("guide, 1.2", "Guide", True),
        ("Guide, 1", "Guide for skin, 2nd edition", True),
        ("Guide, 1", "Guidelines for skin", False),
        ("A Guide, 1", "Guide", False),
        ("Manual, 2026, Eyes: Cataract, 4. Management", "Cataract", True),
        ("Manual, 2026, Children: Pneumonia - Child, 4", "Pneumonia", False),
        ("Manual: Skin, 3", "Manual: Skin", True),
        ("Manual, 2026", "Another manual", False),
    ],
)
def test_a_rule_cites_a_document_by_its_title(source: str, title: str, cites: bool) -> None:
    assert Rule((), (), "for", "high", "Do", source).cites(title) is cites


def test_a_guideline_that_speaks_both_ways_decides_nothing() -> None:
    both = [FREEZE, Rule(("melanoma",), ("cryotherapy",), "for", "high", "Freeze", "Guide, 3")]
    assert stances({"melanoma": 1.0}, ["cryotherapy"], both)[0].stance is None


def test_a_finding_that_the_picture_does_not_show_is_unsure() -> None:
    found = judge(
        stances({"melanoma": 0.01, "nevus": 0.99}, ["cryotherapy"], [LEAVE]), ["melanoma"]
    )
    assert found.verdict == "UNSURE" and "melanoma" in found.because


def test_what_is_said_for_another_finding_than_the_stated_one_is_no_leave() -> None:
    chances = {"nevus": 0.9, "melanoma": 0.1}
    found = stances(chances, ["cryotherapy"], [LEAVE])
    assert judge(found).verdict == judge(found, ["nevus"]).verdict == "CORRECT"
    assert judge(found, ["melanoma"]).verdict == "UNSURE"


@pytest.mark.parametrize(
    ("finding", "stated", "denied"),
    [
        ("PDR with bleeding", (PDR,), ()),
        ("non-proliferative diabetic retinopathy", (), (PDR,)),
        ("non proliferative diabetic retinopathy", (), (PDR,)),
        ("not a normal chest, no bacterial pneumonia", (), ("normal chest", "bacterial pneumonia")),
        ("age-related macular degeneration", ("age-related macular degeneration",), ()),
        ("no PDR last year; now proliferative diabetic retinopathy", (PDR,), ()),
    ],
)
def test_a_label_that_is_denied_is_not_stated(
    finding: str, stated: tuple[str, ...], denied: tuple[str, ...]
) -> None:
    names = (PDR, "age-related macular degeneration", "normal chest", "bacterial pneumonia")
    labels = LabelSet(tuple(Label(name, "fundus") for name in names))
    assert stated_labels(finding, labels) == stated
    assert denied_labels(finding, labels) == denied


def test_a_picture_of_what_the_finding_denies_is_unsure() -> None:
    found = stances({"nevus": 0.8, "melanoma": 0.2}, ["cryotherapy"], [LEAVE])
    assert judge(found).verdict == "CORRECT"
    unsure = judge(found, denied=["nevus"])
    assert unsure.verdict == "UNSURE" and "nevus (80%)" in unsure.because


def test_each_label_is_named_with_the_treatments_that_are_spoken_of_for_it() -> None:
    rules = [
        Rule(("pneumonia",), ("reassurance",), "against", "high", "Treat", "Guide, 5"),
        Rule(("normal",), ("antibiotic",), "against", "high", "No drug", "Guide, 6"),
    ]
    found = judge(stances({"pneumonia": 0.9, "normal": 0.1}, ["antibiotic", "reassurance"], rules))
    assert found.because == (
        "the guideline speaks against reassurance for pneumonia (90%);"
        " the guideline speaks against antibiotic for normal (10%)"
    )


def test_stated_labels_go_by_any_of_their_names() -> None:
    labels = LabelSet((Label("benign keratosis", "skin"), Label("melanoma", "skin")))
    assert stated_labels("looks like a seborrhoeic keratosis", labels) == ("benign keratosis",)
    assert stated_labels("brown spot", labels) == ()


MANUAL = "Kiribati Primary Clinical Care Manual"
SHELF = "guidelines/kiribati-manual"
MANUAL_PAGES = (
    "Eye problems/Diabetic-retinopathy.md",
    "Eye problems/Sudden-painless-loss-of-vision.md",
    "Emergency/Hypertensive-emergency.md",
    "Paediatrics/Bronchiolitis.md",
    "Paediatrics/Pneumonia.md",
    "Paediatrics/Upper-respiratory-tract-infection.md",
    "Cardiovascular and respiratory disorders/Pneumonia.md",
)


def spoken(rules: Iterable[Rule], scenario: Scenario) -> LabelStance:
    """What these rules say of a scenario whose picture is surely its true label."""
    book = RuleBook(BOOK.treatments, BOOK.signs, tuple(rules))
    treatments = book.treatments_in(scenario.treatment)
    about = book.about(treatments, book.signs_in(scenario.finding))
    (found,) = stances({scenario.label: 1.0}, treatments, about)
    return found


def test_every_scenario_is_answered_by_its_source_for_the_true_label() -> None:
    verdicts = {"for": "CORRECT", "against": "ERROR", None: "UNSURE"}
    for scenario in read_scenarios():
        found = spoken(rules_of(scenario.document), scenario)
        assert verdicts[found.stance] == scenario.answer, scenario
        assert scenario.source in [rule.source for rule in found.rules]


def test_every_rule_is_of_a_document_that_a_scenario_asks_of() -> None:
    documents = {rule.source.partition(",")[0] for rule in BOOK.rules}
    assert documents == {scenario.document for scenario in read_scenarios()} == {SAMPLE, MANUAL}


def test_what_two_guidelines_disagree_on_is_left_undecided() -> None:
    """Retinopathy seen again in two years: the sample allows it, the manual says every year."""
    (asked,) = [
        s
        for s in read_scenarios()
        if s.label.startswith("mild") and "2 years" in s.treatment and s.document == MANUAL
    ]
    assert spoken(rules_of(MANUAL), asked).stance == "against"
    assert spoken(rules_of(SAMPLE), asked).stance == "for"
    assert spoken(BOOK.rules, asked).stance is None


@pytest.mark.data
def test_the_manual_decides_where_it_is_indexed_and_no_other_document_does(
    shared: Path, home: Path
) -> None:
    from appliance.config import Config
    from appliance.wiring import open_guidelines

    asked = [scenario for scenario in read_scenarios() if scenario.document == MANUAL]
    with open_guidelines(Config(home), create=True) as index:
        other = shared / "guidelines" / "my-cpg-ed-2024-introduction.pdf"
        index.add(other, title=None, edition=None)
        assert passages_of(BOOK.rules, index) == {}
        for name in MANUAL_PAGES:
            index.add(shared / SHELF / name, title=None, edition="2026")
        at_hand = passages_of(BOOK.rules, index)
    assert {*at_hand} == {*rules_of(MANUAL)}
    for rule, passage in at_hand.items():
        page = rule.source.split(": ")[1].split(",")[0]
        assert passage.document == page and passage.edition == "2026"
        assert passage.page is None and passage.section
    for scenario in asked:
        found = judge([spoken(at_hand, scenario)])
        assert found.verdict == scenario.answer, scenario
        assert judge([spoken((), scenario)]).verdict == "UNSURE"


def test_pairs_have_the_same_words_and_another_answer() -> None:
    scenarios = read_scenarios()
    paired: dict[str, list[tuple[str, str, str]]] = {}
    for one in scenarios:
        if one.pair:
            paired.setdefault(one.pair, []).append((one.finding, one.treatment, one.third))
    assert len(scenarios) >= 160
    assert sum(map(len, paired.values())) >= len(scenarios) / 2
    for words in paired.values():
        assert len(words) == 2 and words[0] == words[1]
    answers = {(one.pair, one.answer) for one in scenarios if one.pair}
    assert len(answers) == 2 * len(paired)
    images = [(one.label, one.image) for one in scenarios]
    assert len(set(images)) == len(images)


RULE = """
[[rules]]
labels = ["melanoma"]
treatments = ["{treatment}"]
stance = "{stance}"
severity = "high"
quote = "Do not"
source = "Clinic's own"
"""


def test_a_clinics_rules_add_to_the_book(tmp_path: Path) -> None:
    words = '[treatments]\npeeling = ["peel", "Peeling"]\n'
    text = words + RULE.format(treatment="peeling", stance="against")
    (tmp_path / "own.toml").write_text(text)
    book = read_rules(tmp_path)
    assert len(book.rules) == len(BOOK.rules) + 1
    assert book.treatments_in("a PEELING, cryotherapy") == ("peeling", "cryotherapy")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (RULE.format(treatment="peeling", stance="against"), "no words are given for `peeling`"),
        (RULE.format(treatment="cryotherapy", stance="maybe"), "`stance` is 'maybe'"),
        ("[[rules]]\nlabels = ['a']\n", "`stance` is missing"),
        ("[[rules]]\nlable = ['a']\n", "no such key `lable`"),
        ("[treatments]\npeeling = 'peel'\n", "`peeling`"),
        ("rules = ", "cannot be read"),
        ("treatments = ['x']", "`treatments` in"),
        ("signs = 3", "`signs` in"),
        ("rules = 4", "`rules` in"),
        ("[rules]\nlabels = ['a']\n", "`rules` in"),
        ("rules = ['a']", "rule 1 in"),
        ("[treatments]\namoxicillin = ['antibiotics']\n", "names `antibiotic` already"),
        ("[treatments]\nfreezer = ['Liquid-nitrogen']\n", "names `cryotherapy` already"),
    ],
)
def test_a_rule_that_cannot_be_used_is_named(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "own.toml").write_text(text)
    with pytest.raises(ConfigError) as raised:
        read_rules(tmp_path)
    assert said in raised.value.message and "own.toml" in raised.value.message


def test_the_sample_guideline_holds_every_sentence_quoted_from_it(home: Path) -> None:
    from appliance.config import Config
    from appliance.wiring import open_guidelines
    from cpg_store.sample import sample_guideline

    with open_guidelines(Config(home), create=True) as index:
        index.add(sample_guideline(), title=None, edition=None)
        found = passages_of(BOOK.rules, index)
    assert {*found} == {*rules_of(SAMPLE)}


SENTENCE = "Do not freeze a spot that may be melanoma."


def crowded(title: str) -> str:
    """A document that says the sentence once, among much else, and much that is nearly the same."""
    place = "Follow-up came late in the first years and many a list was lost on the way. " * 6
    near = (
        f"## 2.{n} Melanoma\nFreeze no melanoma, nor a spot that may be melanoma {n}: {each}.\n"
        for n, each in enumerate(("nail", "face", "sole", "palm", "scalp", "back", "trunk", "limb"))
    )
    return f"# {title}\n## 1. History\n{place}{SENTENCE}\n{''.join(near)}"


@pytest.mark.parametrize(("title", "is_heard"), [("Guide", True), ("Other guide", False)])
def test_a_rule_is_heard_where_it_cites_wherever_its_sentence_ranks(
    home: Path, tmp_path: Path, title: str, is_heard: bool
) -> None:
    from appliance.config import Config
    from appliance.wiring import open_guidelines

    rule = Rule(("melanoma",), ("cryotherapy",), "against", "critical", SENTENCE, "Guide, 1")
    (tmp_path / "crowd.md").write_text(crowded(title))
    with open_guidelines(Config(home), create=True) as index:
        index.add(tmp_path / "crowd.md", title=None, edition=None)
        found = index.find(GuidelineQuery(f"melanoma: {SENTENCE}"), 5)
        assert len(found) == 5 and not [each for each in found if SENTENCE in each.text]
        at_hand = passages_of([rule], index)
    assert [*at_hand] == ([rule] if is_heard else [])
    assert all(SENTENCE in passage.text for passage in at_hand.values())


def test_an_empty_book_knows_no_words() -> None:
    assert RuleBook({}, {}, ()).treatments_in("cryotherapy") == ()
