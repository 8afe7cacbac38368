"""What the gate refuses: kinds of picture it should, test pictures it should not, and twins.

    python -m tests.benchmarks.gate --data DIR --packages DIR [--release DIR] [--half held]

Prints the share refused of each kind of gate_set's half, real, spoiled and drawn apart; of every
test picture of each domain; of pictures of the three kinds from elsewhere; and what becomes of
200 test pictures' blank, shuffled and mismatched twins. Odd pictures go the clinic's way, as files;
test pictures are decoded in this process, by the same functions. Intervals: Wilson, 95 %.
"""

import argparse
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

from appliance.core.calibration import wilson
from appliance.core.labels import DOMAINS
from appliance.core.ports import Captioner
from appliance.errors import ImageError
from appliance.release.manifest import read_release
from appliance.release.shelf import BUILT_IN
from appliance.wiring import open_captioner, open_images
from export.familiarity import as_picture, opened
from tests.benchmarks.gate_set import KIN, OddPicture, odd_pictures, real
from tests.benchmarks.twins import FATES, refused, twin_fates
from training.evaluation.questions import Question, read_questions

TWIN_PICTURES = 200


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--packages", type=Path, required=True)
    parser.add_argument("--release", type=Path, default=BUILT_IN)
    parser.add_argument("--half", choices=["development", "held"], default="held")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    with open_captioner(read_release(options.release), options.threads) as captioner:
        odd = odd_pictures(options.packages, options.data, options.half)
        report_odd(odd, [verdict_on_file(captioner, each.encoded) for each in odd])
        report_kin(captioner, list(real(options.packages, KIN, "held")))
        questions = read_questions(options.data, "test")
        report_domains(captioner, questions)
        report_twins(captioner, questions)


def verdict_on_file(captioner: Captioner, encoded: bytes) -> str:
    """The code of the refusal, empty if it is read; the file is written aside and read as any."""
    with tempfile.NamedTemporaryFile() as file:
        file.write(encoded)
        file.flush()
        try:
            picture = open_images().open(file.name, captioner.release.image_size)
        except ImageError as exc:
            return exc.code
    return refused(captioner, picture)


def report_odd(odd: Sequence[OddPicture], codes: Sequence[str]) -> None:
    print("| kind | how | pictures | refused | by |\n|---|---|---|---|---|")
    groups: dict[tuple[str, str], list[str]] = defaultdict(list)
    for each, code in zip(odd, codes, strict=True):
        for kind in (each.kind, "all"):
            groups[kind, each.how].append(code)
        groups["all", "any"].append(code)
    for (kind, how), found in sorted(groups.items(), key=lambda row: (row[0][0] == "all", row[0])):
        by = ", ".join(f"{code} {n}" for code, n in Counter(filter(None, found)).most_common())
        print(f"| {kind} | {how} | {len(found)} | {share(map(bool, found))} | {by} |")


def report_kin(captioner: Captioner, kin: Sequence[OddPicture]) -> None:
    print("\nPictures of the three kinds from elsewhere, which it should read:")
    for each in kin:
        print(
            f"- {each.kind} ({each.source}): {verdict_on_file(captioner, each.encoded) or 'read'}"
        )


def report_domains(captioner: Captioner, questions: Sequence[Question]) -> None:
    print("\n| test pictures | pictures | refused | by |\n|---|---|---|---|")
    size = captioner.release.image_size
    codes = [refused(captioner, as_picture(opened(question), size)) for question in questions]
    for domain in (*DOMAINS, "all"):
        found = [
            code
            for question, code in zip(questions, codes, strict=True)
            if domain in (question.example.domain, "all")
        ]
        by = ", ".join(f"{code} {n}" for code, n in Counter(filter(None, found)).most_common())
        print(f"| {domain} | {len(found)} | {share(map(bool, found))} | {by} |")


def report_twins(captioner: Captioner, questions: Sequence[Question]) -> None:
    print(f"\n| twins of {TWIN_PICTURES} test pictures | " + " | ".join(FATES) + " |")
    print("|---" * (len(FATES) + 1) + "|")
    for name, counts in twin_fates(captioner, questions, TWIN_PICTURES).items():
        print(f"| {name} | " + " | ".join(str(counts[fate]) for fate in FATES) + " |")


def share(claims: Iterable[bool]) -> str:
    found = list(claims)
    low, high = wilson(sum(found), len(found))
    return f"{sum(found) / len(found):.3f} ({low:.3f}-{high:.3f})"


if __name__ == "__main__":
    main()
