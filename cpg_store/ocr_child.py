"""The process that recognises text: a PDF on stdin, page numbers as arguments, a JSON line a page.

It runs under the limits of `pdf_child`, for it opens the same hostile files.
"""

import json
import os
import sys
from typing import Any

from cpg_store.pdf_child import limit, open_pdf

CPU_S = 3600
SIDE_PX, MAX_ZOOM = 2000, 3.0
"""The longer side of the page as recognised, about 170 dots an inch of A4, and the most that a
small page is enlarged."""
LEAST_SURE = 0.5


def main(numbers: list[int]) -> None:
    """Answer for each page as soon as it is read."""
    limit(CPU_S)
    answer_to = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # from 1.29 on it reports each run to its maker
    from rapidocr_onnxruntime import RapidOCR

    recogniser = RapidOCR(intra_op_num_threads=1)
    with answer_to, open_pdf(sys.stdin.buffer.read()) as document:
        for number in numbers:
            answer_to.write(json.dumps(_read(document[number - 1], recogniser)).encode() + b"\n")
            answer_to.flush()


def _read(page: Any, recogniser: Any) -> dict[str, Any]:
    import numpy as np

    zoom = min(SIDE_PX / max(page.rect.width, page.rect.height), MAX_ZOOM)
    pixels = page.get_pixmap(matrix=(zoom, 0, 0, zoom, 0, 0), alpha=False)
    image = np.frombuffer(pixels.samples, np.uint8).reshape(pixels.height, pixels.width, pixels.n)
    found, _ = recogniser(image[:, :, ::-1])
    lines = []
    for corners, text, sure in found or ():
        xs, ys = [x / zoom for x, _ in corners], [y / zoom for _, y in corners]
        if float(sure) >= LEAST_SURE:
            lines.append(
                [text, round((max(ys) - min(ys)) * 0.75), min(xs), min(ys), max(xs), max(ys)]
            )
    return {
        "number": page.number + 1,
        "width": page.rect.width,
        "height": page.rect.height,
        "lines": lines,
    }


if __name__ == "__main__":
    main([int(number) for number in sys.argv[1:]])
