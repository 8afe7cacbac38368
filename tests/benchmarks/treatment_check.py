"""Whether the treatment check reads the image: scenarios in pairs, against rules that see words.

    python -m tests.benchmarks.treatment_check --data DIR --answers FILE [--png FILE] \
        [--supervised ADAPTER] [--optimised ADAPTER] [--guidelines DIR]

Every scenario on the sample guideline goes the clinic's way, as a file, on the release and that
guideline; what the picture was believed to show is kept in FILE. Then, by third: the rule over
words alone (every label of the domain equally likely), the rule with the caption's label taken for
certain, and the check. A judge that `training treatment` taught, or `training treatment-optimise`
optimised, answers with the likelier of its two words; then the check, where that judge agrees with
it. The operating point is chosen on the first two thirds; the held third is printed beside it.
Last, the scenarios on other documents: with the Markdown and PDF files of DIR in the index, and
without.
An UNSURE counts as wrong in `accuracy`. Intervals: Wilson, 95 %.
"""

import argparse
import json
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Literal

from PIL import Image, ImageDraw

from appliance.config import Config
from appliance.core.calibration import wilson
from appliance.core.check import (
    UNLIKELY,
    Check,
    Question,
    check,
    denied_labels,
    passages_of,
    stated_labels,
    unclear_words,
)
from appliance.core.labels import DOMAINS
from appliance.core.ports import ReleaseCard
from appliance.core.treatment import (
    OPERATING_POINT,
    SEVERITIES,
    Judgement,
    LabelStance,
    OperatingPoint,
    Rule,
    RuleBook,
    Verdict,
    judge,
    stances,
    withheld,
)
from appliance.release.manifest import read_release
from appliance.release.shelf import BUILT_IN
from appliance.wiring import open_consultation, open_guidelines, open_rules
from cpg_store.sample import sample_guideline
from tests.treatment_scenarios import SAMPLE, Scenario, drawn_images, read_scenarios
from training.adapted import load_adapted
from training.checkpoint import weights_hash
from training.evaluation.questions import read_questions
from training.labels import label_set
from training.treatment.judging import Question as JudgeQuestion
from training.treatment.judging import judge_questions

FALSE_ALARMS = 0.1
"""The most of the right treatments that may be called an error, where the point is chosen."""
HEARD_STEPS = [0.2, 0.4, 0.6]
STEPS = [step / 20 for step in range(10, 20)]
CRITICAL_STEPS = [0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 1.01]
CERTAIN = OperatingPoint(heard=0.0, error=0.5, correct=0.5, critical=1.01)
"""Of a rule that knows no doubt."""
JUDGE_HELP = "A judge's adapter, whose answers are kept in its folder, or a file of answers."
S4 = "S4, medbilldozer, as published (24 cases of words, no image read): accuracy 0.792"


@dataclass(frozen=True)
class Believed:
    """What one scenario's picture was taken for."""

    probabilities: Mapping[str, float]
    """Empty when the picture was refused."""
    caption_label: str
    abstains: bool
    """Whether the consultation did."""
    verdict: Verdict | Literal["REFUSED"]
    """As `check` gave it, at the operating point in force."""


Judge = Callable[[Scenario], Judgement]
Stances = Sequence[LabelStance]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--answers", type=Path, required=True, help="Kept; a second run reads it.")
    parser.add_argument("--png", type=Path, help="Heat map of errors caught.")
    parser.add_argument("--supervised", type=Path, help=JUDGE_HELP)
    parser.add_argument("--optimised", type=Path, help=JUDGE_HELP)
    parser.add_argument("--guidelines", type=Path, help="Documents that other scenarios ask of.")
    options = parser.parse_args()
    scenarios = [scenario for scenario in read_scenarios() if scenario.document == SAMPLE]
    release = read_release(BUILT_IN).card
    with tempfile.TemporaryDirectory() as home:
        config = Config(Path(home), keep_cases_days=0)
        with open_guidelines(config, create=True) as index:
            index.add(sample_guideline(), title=None, edition=None)
            book = open_rules(config)
            at_hand = tuple(passages_of(book.rules, index))
        believed = _kept(options.answers, release) or asked(scenarios, options.data, config, book)
    options.answers.write_text(
        json.dumps(
            {"release": release.sha256, "believed": {k: vars(v) for k, v in believed.items()}}
        )
    )
    rows = judges(scenarios, release, book, at_hand, believed)
    for name, place in (
        ("supervised", options.supervised),
        ("after optimisation", options.optimised),
    ):
        if place:
            rows |= own_rows(name, own_answers(scenarios, options.data, place), rows)
    report(scenarios, believed, rows, options.png)
    if options.guidelines:
        report_documents(options.data, options.guidelines)


def _kept(file: Path, release: ReleaseCard) -> dict[str, Believed] | None:
    if not file.exists():
        return None
    kept = json.loads(file.read_text())
    if kept["release"] != release.sha256:
        return None
    return {name: Believed(**values) for name, values in kept["believed"].items()}


def asked(
    scenarios: Sequence[Scenario], data: Path, config: Config, book: RuleBook
) -> dict[str, Believed]:
    images = drawn_images(read_questions(data, "test"))
    found: dict[str, Believed] = {}
    with ExitStack() as stack:
        ports = stack.enter_context(open_consultation(config, lookup=True))
        file = stack.enter_context(tempfile.NamedTemporaryFile())
        for scenario in scenarios:
            file.seek(0)
            file.truncate()
            file.write(images[scenario.label, scenario.image].encoded)
            file.flush()
            question = Question(file.name, scenario.treatment, scenario.finding)
            found[scenario.id] = _believed(check(question, ports, book))
    return found


def _believed(found: Check) -> Believed:
    caption, decision = found.consultation.caption, found.consultation.decision
    return Believed(
        found.consultation.label_probabilities,
        caption.label if caption else "",
        decision is not None and decision.kind == "abstain",
        found.judgement.verdict if found.judgement else "REFUSED",
    )


def judges(
    scenarios: Sequence[Scenario],
    release: ReleaseCard,
    book: RuleBook,
    at_hand: Sequence[Rule],
    believed: Mapping[str, Believed],
) -> dict[str, Callable[[OperatingPoint], Judge]]:
    """The rows of the table: each gives, at an operating point, a judge of scenarios."""
    labels = release.labels

    def words(scenario: Scenario) -> Mapping[str, float]:
        inside = [label.name for label in labels if label.domain == scenario.domain]
        return dict.fromkeys(inside, 1 / len(inside))

    def caption(scenario: Scenario) -> Mapping[str, float]:
        return {believed[scenario.id].caption_label: 1.0}

    def picture(scenario: Scenario) -> Mapping[str, float]:
        return believed[scenario.id].probabilities

    def heard(chances: Callable[[Scenario], Mapping[str, float]]) -> dict[str, Stances]:
        found: dict[str, Stances] = {}
        for scenario in scenarios:
            treatments = book.treatments_in(scenario.treatment)
            spoken = book.about(treatments, book.signs_in(scenario.finding))
            believed_of = chances(scenario)
            likely = {label for label, chance in believed_of.items() if chance >= UNLIKELY}
            rules = [rule for rule in spoken if rule in at_hand and likely & {*rule.labels}]
            found[scenario.id] = stances(believed_of, treatments, rules)
        return found

    def forced(found: Mapping[str, Stances]) -> Callable[[OperatingPoint], Judge]:
        return lambda _: lambda s: bold(judge(found[s.id], (), CERTAIN))

    stated = {s.id: stated_labels(s.finding, labels) for s in scenarios}
    denied = {s.id: denied_labels(s.finding, labels) for s in scenarios}
    unclear = {s.id: unclear_words(s.treatment, s.finding, book, labels) for s in scenarios}
    seen = heard(picture)

    def checked(scenario: Scenario, point: OperatingPoint) -> Judgement:
        if unclear[scenario.id]:
            return Judgement("UNSURE", None, "", ())
        found = judge(seen[scenario.id], stated[scenario.id], point, denied[scenario.id])
        return withheld(found) if believed[scenario.id].abstains else found

    return {
        "rule over words": forced(heard(words)),
        "rule with the caption's label": forced(heard(caption)),
        "the check, made to answer": forced(seen),
        "the check": lambda point: lambda s: checked(s, point),
    }


def own_answers(scenarios: Sequence[Scenario], data: Path, place: Path) -> dict[str, float]:
    """Of every scenario the probability of ERROR that a judge gives it: an adapter's, whose
    answers are kept in its folder, or those kept in a file."""
    file = place / "scenarios.json" if place.is_dir() else place
    adapter = weights_hash(place) if place.is_dir() else None
    if file.exists():
        kept = json.loads(file.read_text())
        if adapter in (None, kept["adapter"]):
            return dict(kept["error"])
    taught = load_adapted(place)
    side = taught.model.config.vision_config.image_size
    images = drawn_images(read_questions(data, "test"))
    asked = [
        JudgeQuestion(
            one.finding,
            one.treatment,
            label_set().in_domain(one.domain),
            images[one.label, one.image].square(side),
        )
        for one in scenarios
    ]
    found = judge_questions(taught, asked)
    error = {one.id: each.error for one, each in zip(scenarios, found, strict=True)}
    file.write_text(json.dumps({"adapter": adapter, "error": error}))
    return error


Rows = dict[str, Callable[[OperatingPoint], Judge]]


def own_rows(name: str, error: Mapping[str, float], rows: Rows) -> Rows:
    """What a judge says itself, and the check and its bold form where it agrees."""
    verdicts: dict[str, Verdict] = {
        one: "ERROR" if share > 0.5 else "CORRECT" for one, share in error.items()
    }

    def both(row: str) -> Callable[[OperatingPoint], Judge]:
        at = rows[row]
        return lambda point: lambda s: agreed(at(point)(s), verdicts[s.id])

    said = {one: Judgement(verdict, None, "", ()) for one, verdict in verdicts.items()}
    return {
        name: lambda _: lambda s: said[s.id],
        f"the check, made to answer, where {name} agrees": both("the check, made to answer"),
        f"the check, where {name} agrees": both("the check"),
    }


def agreed(found: Judgement, own: Verdict) -> Judgement:
    """`found` by the rules, unless the model that saw the picture says otherwise: then UNSURE."""
    if found.verdict in ("UNSURE", own):
        return found
    reason = f"the rules say {found.verdict}, the model's own judgement is {own}"
    return Judgement("UNSURE", None, reason, found.deciding)


def bold(found: Judgement) -> Judgement:
    """One or the other, as S4's rule says: it fits, unless something speaks against it."""
    return found if found.verdict != "UNSURE" else replace(found, verdict="CORRECT")


@dataclass(frozen=True)
class Tally:
    scenarios: int
    right: int
    errors: int
    caught: int
    corrects: int
    alarms: int
    unsure: int
    missed_critical: int
    """Critical errors called CORRECT."""
    criticals: int


def tally(scenarios: Iterable[Scenario], judged: Judge) -> Tally:
    found = [(scenario, judged(scenario).verdict) for scenario in scenarios]
    errors = [(s, v) for s, v in found if s.answer == "ERROR"]
    corrects = [(s, v) for s, v in found if s.answer == "CORRECT"]
    critical = [(s, v) for s, v in errors if s.severity == "critical"]
    return Tally(
        scenarios=len(found),
        right=sum(s.answer == v for s, v in found),
        errors=len(errors),
        caught=sum(v == "ERROR" for _, v in errors),
        corrects=len(corrects),
        alarms=sum(v == "ERROR" for _, v in corrects),
        unsure=sum(v == "UNSURE" for _, v in found),
        missed_critical=sum(v == "CORRECT" for _, v in critical),
        criticals=len(critical),
    )


def chosen_point(
    scenarios: Sequence[Scenario], at: Callable[[OperatingPoint], Judge]
) -> OperatingPoint:
    """The most right answers, no critical error called CORRECT, few false alarms. `critical`
    is set beforehand: too few critical errors stand here to choose it by."""
    best = (-1, OPERATING_POINT)
    for heard, error, correct in product(HEARD_STEPS, STEPS, STEPS):
        point = OperatingPoint(heard, error, correct, OPERATING_POINT.critical)
        found = tally(scenarios, at(point))
        if found.missed_critical or found.alarms > FALSE_ALARMS * found.corrects:
            continue
        best = max(best, (found.right, point), key=lambda one: one[0])
    return best[1]


def report(
    scenarios: Sequence[Scenario],
    believed: Mapping[str, Believed],
    rows: Mapping[str, Callable[[OperatingPoint], Judge]],
    png: Path | None,
) -> None:
    choosing = [scenario for scenario in scenarios if scenario.third != "held"]
    held = [scenario for scenario in scenarios if scenario.third == "held"]
    point = chosen_point(choosing, rows["the check"])
    print(f"chosen on {len(choosing)} scenarios: {point}; in force: {OPERATING_POINT}")
    refused = [name for name, one in believed.items() if not one.probabilities]
    print(f"pictures refused: {len(refused)} of {len(believed)}: {', '.join(refused)}")
    agreeing = sum(
        rows["the check"](OPERATING_POINT)(s).verdict == believed[s.id].verdict
        for s in scenarios
        if believed[s.id].probabilities
    )
    print(f"the same verdict by `check` itself: {agreeing} of {len(scenarios) - len(refused)}")
    print(S4)
    for name, part in (("first two thirds", choosing), ("held third", held)):
        print(f"\n{name}: {len(part)} scenarios")
        for row, at in rows.items():
            print(f"  {row}")
            for line in _lines(part, at(point)):
                print(f"    {line}")
    print("\ncritical errors called CORRECT against UNSURE, held third, by `critical`")
    for critical in CRITICAL_STEPS:
        found = tally(held, rows["the check"](replace(point, critical=critical)))
        print(
            f"  {critical:5.2f}: {_share(found.missed_critical, found.criticals)}"
            f"  unsure {_share(found.unsure, found.scenarios)}"
        )
    if png:
        heat_map(scenarios, rows["the check"](point), png)


def report_documents(data: Path, guidelines: Path) -> None:
    """The scenarios on other documents than the sample, as the check answers them."""
    scenarios = [scenario for scenario in read_scenarios() if scenario.document != SAMPLE]
    files = sorted(file for file in guidelines.rglob("*") if file.suffix in (".md", ".pdf"))
    for indexed in (files, []):
        with tempfile.TemporaryDirectory() as home:
            config = Config(Path(home), keep_cases_days=0)
            with open_guidelines(config, create=True) as index:
                for file in indexed:
                    index.add(file, title=None, edition=None)
            found = asked(scenarios, data, config, open_rules(config))
        refused = [name for name, one in found.items() if not one.probabilities]
        print(f"\n{len(scenarios)} scenarios on other documents, {len(indexed)} files in the index")
        print(f"  pictures refused, counted as UNSURE: {len(refused)}: {', '.join(refused)}")
        said: dict[str, Verdict] = {
            name: "UNSURE" if one.verdict == "REFUSED" else one.verdict
            for name, one in found.items()
        }
        judged = {name: Judgement(verdict, None, "", ()) for name, verdict in said.items()}
        for line in _lines(scenarios, _recalled(judged)):
            print(f"    {line}")


def _recalled(judged: Mapping[str, Judgement]) -> Judge:
    return lambda scenario: judged[scenario.id]


def _lines(scenarios: Sequence[Scenario], judged: Judge) -> Iterator[str]:
    pairs = [scenario for scenario in scenarios if scenario.pair]
    groups: dict[str, list[Scenario]] = {"all": list(scenarios), "pairs": pairs}
    groups |= {name: [s for s in scenarios if s.domain == name] for name in DOMAINS}
    groups |= {name: [s for s in scenarios if s.severity == name] for name in SEVERITIES}
    for name, group in groups.items():
        found = tally(group, judged)
        decided = found.scenarios - found.unsure
        yield (
            f"{name:9} accuracy {_share(found.right, found.scenarios)}"
            f"  of the decided {_share(found.right, decided)}"
            f"  errors caught {_share(found.caught, found.errors)}"
            f"  false alarms {_share(found.alarms, found.corrects)}"
            f"  unsure {found.unsure}  critical called CORRECT {found.missed_critical}"
        )


def _share(count: int, of: int) -> str:
    if not of:
        return "-"
    low, high = wilson(count, of)
    return f"{count / of:.3f} ({low:.2f}-{high:.2f}, {count}/{of})"


def heat_map(scenarios: Sequence[Scenario], judged: Judge, file: Path) -> None:
    """Errors caught, by kind of picture and severity; all scenarios, since cells are small."""
    width, height, left, top = 190, 80, 90, 50
    size = (left + width * len(SEVERITIES) + 10, top + height * len(DOMAINS) + 10)
    image = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(image)
    draw.text((10, 6), "Errors caught by the treatment check (share, count)", "black")
    for column, severity in enumerate(SEVERITIES):
        draw.text((left + column * width + 8, top - 20), severity, "black")
    for row, domain in enumerate(DOMAINS):
        draw.text((10, top + row * height + height // 2), domain, "black")
        for column, severity in enumerate(SEVERITIES):
            group = [s for s in scenarios if (s.domain, s.severity) == (domain, severity)]
            found = tally(group, judged)
            share = found.caught / found.errors if found.errors else 0.0
            box = (left + column * width, top + row * height)
            corner = (box[0] + width - 4, box[1] + height - 4)
            shade = (255 - int(190 * share), 255 - int(80 * share), 255) if found.errors else "#eee"
            draw.rectangle((box, corner), shade, "#888")
            text = f"{share:.0%}  ({found.caught} of {found.errors})" if found.errors else "none"
            draw.text((box[0] + 8, box[1] + height // 2 - 6), text, "black")
    image.save(file)


if __name__ == "__main__":
    main()
