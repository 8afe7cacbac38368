"""Figures as lines for a terminal."""

from collections.abc import Iterator, Mapping
from typing import Any

MERGED = "fundus, worst 3 grades as one"


def with_interval(value: float | None, interval: tuple[float, float] | None) -> str:
    """`0.426 (0.316-0.545)`."""
    if value is None or interval is None:
        return "none"
    return f"{value:.3f} ({interval[0]:.3f}-{interval[1]:.3f})"


def in_other_words(findings: Mapping[str, Any]) -> str:
    """What the share says nothing of."""
    return f"; {findings['unknown']} in other words" if findings["unknown"] else ""


def in_words(key: str) -> str:
    """A figure's key as it is written in a table."""
    return key.replace("_", " ").replace("json", "JSON").replace("f1", "F1")


def p_value(p: float) -> str:
    """`< 0.0001` or `= 0.012`."""
    return "< 0.0001" if p < 1e-4 else f"= {p:.2g}"


def rows_of(table: Mapping[str, Any]) -> dict[str, Any]:
    """The domains, and after the fundus itself the fundus with its worst grades as one."""
    rows = {}
    for domain, row in table["domains"].items():
        rows[domain] = row
        if domain == "fundus" and table["fundus_grades_merged"]:
            rows[MERGED] = table["fundus_grades_merged"]
    return rows


def figure_lines(figures: dict[str, Any]) -> Iterator[str]:
    yield (
        f"JSON valid {figures['json_valid']:.3f}, label in list {figures['label_in_list']:.3f}, "
        f"domain right {figures['domain_right']:.3f}"
    )
    for name, row in rows_of(figures).items():
        yield (
            f"{name:<29}  n {row['images']:>5}  "
            f"accuracy {with_interval(row['accuracy'], row['accuracy_interval'])}  balanced "
            f"{with_interval(row['balanced_accuracy'], row['balanced_accuracy_interval'])}  "
            f"F1 {row['f1']:.3f}"
        )
    for domain, row in figures["findings"].items():
        yield (
            f"{domain:<29}  findings confirmed {row['confirmed']} of {row['stated']}: "
            f"{with_interval(row['share'], row['share_interval'])}{in_other_words(row)}"
        )
    for domain, strata in figures["strata"].items():
        for stratum, values in strata.items():
            cells = (
                f"{value} {row['accuracy']:.3f} (n {row['images']})"
                for value, row in values.items()
            )
            yield f"{f'{domain}, accuracy by {stratum}':<29}  {', '.join(cells)}"
    if left_out := figures["strata_left_out"]:
        yield f"{len(left_out)} strata of too few images are left out"


def comparison_lines(comparison: dict[str, Any]) -> Iterator[str]:
    names = {side: comparison[side]["model"] for side in ("before", "after")}
    yield (
        f"{names['before']} -> {names['after']}, {comparison['images']} images of the split "
        f"{comparison['split']}"
    )
    for name, row in rows_of(comparison).items():
        test = row["mcnemar"]
        yield (
            f"{name}: n {row['images']}, McNemar p {p_value(test['p'])} ({test['gained']} gained, "
            f"{test['lost']} lost), balanced accuracy by chance "
            f"{row['chance_balanced_accuracy']:.3f}"
        )
        for measure, sides in row["measures"].items():
            cells = (with_interval(**sides[side]) for side in names)
            yield f"  {in_words(measure):<18} {' -> '.join(cells)}"
    for domain, sides in comparison["findings"].items():
        cells = (
            with_interval(sides[side]["share"], sides[side]["share_interval"]) for side in names
        )
        yield f"{domain}: findings confirmed {' -> '.join(cells)}"
    for share in ("json_valid", "label_in_list", "domain_right"):
        cells = (f"{comparison[share][side]:.3f}" for side in names)
        yield f"{in_words(share)} {' -> '.join(cells)}"
