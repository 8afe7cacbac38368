"""One evaluation, alone or beside an earlier one, as a single HTML page that needs nothing else.

No script, no network, no font of its own; tables are tables, and a figure says in words what it
draws.
"""

import base64
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

from appliance.core.calibration import calibration_error
from appliance.core.labels import DOMAINS, Domain
from training.evaluation.answered import AnsweredImage, Evaluation
from training.evaluation.comparison import MEASURES
from training.evaluation.drawings import change_plot, interval_bar, reliability_diagram
from training.evaluation.examples import HOLDS_IMAGES, ExampleImage
from training.evaluation.markup import Html, document, element, table, void
from training.evaluation.reliability import confidence, reliability
from training.evaluation.table import in_other_words, in_words, p_value, rows_of, with_interval


def report_page(
    evaluation: Evaluation,
    figures: Mapping[str, Any],
    comparison: Mapping[str, Any] | None = None,
    examples: Sequence[ExampleImage] = (),
) -> str:
    """`figures` are evaluate's of the evaluation; `comparison` is compare's with an earlier one."""
    header = evaluation.header
    title = f"Evaluation of {header.model}"
    if comparison:
        title += f", after {comparison['before']['model']}"
    content: list[str] = [element("h1", title)]
    if examples:
        content.append(element("p", f"This page {HOLDS_IMAGES}.", class_="warning"))
    content += [
        element(
            "p",
            f"{header.images} images of the split {header.split}; intervals are 95 %, "
            "where images of one patient or lesion count as alike. "
            f"Model files: sha256 {header.model_sha256}.",
        ),
        element("h2", "Figures"),
        *(_figures(figures) if comparison is None else _changes(comparison)),
        _shares(figures, comparison),
    ]
    for domain in DOMAINS:
        images = [image for image in evaluation.images if image.domain == domain]
        if images:
            content += _domain(domain, images, evaluation, figures)
            shown = [example for example in examples if example.image.domain == domain]
            content += _examples(domain, shown, header.temperatures[domain]) if shown else []
    return document(title, content)


def _figures(figures: Mapping[str, Any]) -> Iterator[Html]:
    rows = [
        [
            name,
            str(row["images"]),
            *(with_interval(row[measure], row[limits]) for measure, limits in MEASURES.items()),
        ]
        for name, row in rows_of(figures).items()
    ]
    yield table("Figures by domain; precision, recall and F1 are means over labels", _head(), rows)


def _changes(comparison: Mapping[str, Any]) -> Iterator[Html]:
    rows = rows_of(comparison)
    plotted = []
    for name, row in rows.items():
        sides = row["measures"]["balanced_accuracy"]
        plotted.append(
            (
                name,
                sides["before"]["value"],
                sides["before"]["interval"],
                sides["after"]["value"],
                sides["after"]["interval"],
            )
        )
    words = "Balanced accuracy before (hollow) and after (filled), with intervals"
    yield element("figure", [change_plot(plotted), element("figcaption", words)])
    yield table(
        f"Before ({comparison['before']['model']}) and after ({comparison['after']['model']})",
        _head(),
        [
            [
                f"{name}, {side}",
                str(row["images"]),
                *(with_interval(**sides[side]) for sides in row["measures"].values()),
            ]
            for name, row in rows.items()
            for side in ("before", "after")
        ],
    )
    yield table(
        "Could the difference be chance? McNemar's test on the same images, by patient or lesion",
        [
            "domain",
            "p",
            "wrong before, right after",
            "right before, wrong after",
            "balanced accuracy by chance",
        ],
        [
            [
                name,
                p_value(row["mcnemar"]["p"]).removeprefix("= "),
                str(row["mcnemar"]["gained"]),
                str(row["mcnemar"]["lost"]),
                f"{row['chance_balanced_accuracy']:.3f}",
            ]
            for name, row in rows.items()
        ],
    )


def _head() -> list[str]:
    return ["domain", "images", *map(in_words, MEASURES)]


def _shares(figures: Mapping[str, Any], comparison: Mapping[str, Any] | None) -> Html:
    """What holds of the captions, as text and as claims about the image."""
    names = {
        "json_valid": "valid JSON captions",
        "label_in_list": "label in the list",
        "domain_right": "label of the right domain",
    }
    rows = []
    for key, name in names.items():
        before = [f"{comparison[key]['before']:.3f}"] if comparison else []
        rows.append([name, *before, f"{figures[key]:.3f}"])
    for domain, after in figures["findings"].items():
        sides = [comparison["findings"][domain]["before"]] if comparison else []
        cells = [
            f"{with_interval(side['share'], side['share_interval'])} of {side['stated']}"
            f"{in_other_words(side)}"
            for side in (*sides, after)
        ]
        rows.append([f"{domain}: stated findings that the image bears out", *cells])
    return table(
        "Captions", ["share of", *(["before", "after"] if comparison else ["value"])], rows
    )


def _domain(
    domain: Domain,
    images: Sequence[AnsweredImage],
    evaluation: Evaluation,
    figures: Mapping[str, Any],
) -> Iterator[Html]:
    yield element("h2", f"{domain.capitalize()}: {len(images)} images")
    yield _labels(domain, figures["domains"][domain])
    yield _confusion(domain, images, evaluation)
    yield from _reliability(domain, images, evaluation.header.temperatures[domain])
    yield from _strata(domain, figures)


def _labels(domain: str, scores: Mapping[str, Any]) -> Html:
    rows = []
    for name, recall in scores["recall_by_label"].items():
        interval = scores["recall_interval_by_label"][name]
        written = with_interval(recall, interval)
        rows.append(
            [
                name,
                str(scores["images_by_label"][name]),
                f"{scores['precision_by_label'][name]:.3f}",
                written,
                interval_bar(recall, interval, f"recall {written}"),
                f"{scores['f1_by_label'][name]:.3f}",
            ]
        )
    head = ["label", "images", "precision", "recall", "recall drawn, 0 to 1", "F1"]
    return table(f"{domain.capitalize()} by label", head, rows)


def _confusion(domain: Domain, images: Sequence[AnsweredImage], evaluation: Evaluation) -> Html:
    names = evaluation.header.label_set.in_domain(domain)
    elsewhere = any(image.found not in names for image in images)
    head = ["true label", *names, *(["of another domain"] if elsewhere else [])]
    rows = []
    for name in names:
        found = [image.found for image in images if image.label == name]
        counts = [found.count(other) for other in names]
        counts += [len(found) - sum(counts)] if elsewhere else []
        if found:
            cells = (_count(n, len(found), names.index(name) == i) for i, n in enumerate(counts))
            rows.append([name, *cells])
    made = table(
        f"{domain.capitalize()}, found label (column) by true label (row): images, darker for a "
        "larger share of the row, the right ones framed",
        head,
        rows,
    )
    return element("div", made, class_="confusion")


def _count(images: int, of: int, is_right: bool) -> Html:
    grey = round(255 - 110 * images / of)
    shade = {"style": f"background: rgb({grey}, {grey}, {grey})"}
    return element("td", str(images), **shade, **({"class_": "right"} if is_right else {}))


def _reliability(
    domain: str, images: Sequence[AnsweredImage], temperature: float
) -> Iterator[Html]:
    bins = reliability(images, temperature)
    words = (
        "Is the model as often right as it is sure? Points below the dashed line: less often. "
        f"Expected calibration error {calibration_error(bins):.3f} at temperature "
        f"{temperature:.3g}."
    )
    yield element("figure", [reliability_diagram(bins, domain), element("figcaption", words)])
    yield table(
        f"{domain.capitalize()}: probability of the likeliest label, and how often it is right",
        ["probability", "images", "mean probability", "share right"],
        [
            [
                f"{b.low:.1f}-{b.high:.1f}",
                str(b.images),
                f"{b.confidence:.3f}",
                with_interval(b.accuracy, b.accuracy_interval),
            ]
            for b in bins
        ],
    )


def _strata(domain: str, figures: Mapping[str, Any]) -> Iterator[Html]:
    rows = [
        [
            f"{stratum}: {value}",
            str(row["images"]),
            with_interval(row["accuracy"], row["accuracy_interval"]),
            f"{row['balanced_accuracy']:.3f}",
        ]
        for stratum, values in figures["strata"].get(domain, {}).items()
        for value, row in values.items()
    ]
    if rows:
        head = ["stratum", "images", "accuracy", "balanced accuracy"]
        yield table(f"{domain.capitalize()} by stratum", head, rows)
    left_out = [row for row in figures["strata_left_out"] if row["domain"] == domain]
    if left_out:
        names = (f"{row['stratum']} {row['value']} ({row['images']})" for row in left_out)
        yield element("p", f"Left out for too few images: {', '.join(names)}.")


def _examples(domain: str, examples: Sequence[ExampleImage], temperature: float) -> Iterator[Html]:
    for is_right, group in groupby(examples, lambda example: example.image.is_right):
        word = "right" if is_right else "wrong"
        yield element("h3", f"{domain.capitalize()}, labelled {word}")
        yield element(
            "div", [_example(each, word, temperature) for each in group], class_="examples"
        )


def _example(example: ExampleImage, word: str, temperature: float) -> Html:
    image = example.image
    encoded = base64.b64encode(example.jpeg).decode()
    picture = void(
        "img",
        src=f"data:image/jpeg;base64,{encoded}",
        alt=f"{image.domain} image, row {image.row} of {image.dataset}",
    )
    words = (
        f"{word.capitalize()}: found {image.found} "
        f"({confidence(image, temperature):.0%} sure), is {image.label}."
    )
    caption = [element("strong", words), void("br"), image.text]
    return element("figure", [picture, element("figcaption", caption)])
