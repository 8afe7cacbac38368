"""gate.html: the margins, what was found, and the pictures on which the two sides differ most.

Holds pictures of patients: it stays with whoever exports and is no part of a release.
"""

import base64
from collections.abc import Iterator, Sequence
from pathlib import Path

from export.agreement import Agreement, Disagreement
from export.margins import Check
from export.pair import Pair
from training.datasets import encoded_images
from training.evaluation.examples import HOLDS_IMAGES, thumbnail
from training.evaluation.markup import Html, document, element, table, void


def gate_page(
    pair: Pair,
    checks: Sequence[Check],
    found: Agreement,
    worst: Sequence[Disagreement],
    data: Path,
) -> str:
    source = pair.source
    outside = [check for check in checks if not check.passes]
    verdict = f"Refused: {len(outside)} of {len(checks)} measures are outside their margin"
    matters = "with" if source.importance_sha256 else "without"
    content = [
        element("h1", verdict if outside else "Within every margin"),
        element("p", f"This page {HOLDS_IMAGES}.", class_="warning"),
        element(
            "p",
            f"Decoder {source.text}, {matters} an importance matrix; projector {source.projector}; "
            f"{found.images} images asked of both, soft tokens compared on "
            f"{found.embedding_images}. Parent weights: sha256 {source.weights_sha256}.",
        ),
        table(
            "The pair against its parent in transformers at full precision",
            ["measure", "found", "margin", "within"],
            [
                [
                    check.measure.replace("_", " "),
                    f"{check.found:.5g}",
                    f"{'at least' if check.is_least else 'at most'} {check.margin:g}",
                    "yes" if check.passes else "no",
                ]
                for check in checks
            ],
        ),
        element(
            "p",
            f"Beside these: whole captions the same {found.same_text:.3f}, mean drift "
            f"{found.drift_mean:.2g}.",
        ),
        element("h2", f"The {len(worst)} images with the largest difference"),
        element("div", _examples(worst, data), class_="examples"),
    ]
    return document("Gate", content)


def _examples(worst: Sequence[Disagreement], data: Path) -> Iterator[Html]:
    encoded = {name: encoded_images(data, name) for name in {one.parent.dataset for one in worst}}
    for one in worst:
        image = one.parent
        jpeg = base64.b64encode(thumbnail(encoded[image.dataset][image.row])).decode()
        words = [
            element("strong", f"Drift {one.drift:.2g}; is {image.label}."),
            void("br"),
            f"Parent, {image.found}: {image.text}",
            void("br"),
            "Pair: the same words"
            if one.exported.text == image.text
            else f"Pair, {one.exported.found}: {one.exported.text}",
        ]
        picture = void(
            "img",
            src=f"data:image/jpeg;base64,{jpeg}",
            alt=f"{image.domain} image, row {image.row} of {image.dataset}",
        )
        yield element("figure", [picture, element("figcaption", words)])
