"""Text burned into a picture: where it is, never what it says. Used in the decode child only.

The models are PP-OCRv4's (PaddleOCR), which the package rapidocr-onnxruntime carries; only its
files are used, so that neither OpenCV nor a display library is loaded. The detector proposes
regions (differentiable binarization, Liao et al. 2019, arXiv:1911.08947); the recognizer confirms
each by how sure it is of the characters, which are counted and not spelt out.
"""

import importlib.util
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from PIL.Image import Image

PACKAGE = "rapidocr_onnxruntime"
DETECTOR, RECOGNIZER = "ch_PP-OCRv4_det_infer.onnx", "ch_PP-OCRv4_rec_infer.onnx"

LONGEST_SIDE = 960
"""Pixels to which a picture is brought for the detector; one less than half as long is doubled."""
STRIDE = 32
TEXT_PROBABILITY, REGION_PROBABILITY, SURE = 0.3, 0.5, 0.5
UNCLIP = 1.6
"""These as in rapidocr-onnxruntime 1.4.4, config.yaml: thresh, box_thresh, text_score and
unclip_ratio. A region is grown by its area times `UNCLIP` over its perimeter (arXiv:1911.08947,
section 3.6)."""
LEAST_SIDE = 3
TALLEST_LINE = 1 / 8
"""Of the picture's shorter side: what is taller, as a mole that looks like a letter, is the picture
and must not be painted over."""
MOST_REGIONS = 500
LINE_HEIGHT, LONGEST_LINE = 48, 2000
"""Pixels of a line of text as the recognizer takes it."""

Region = tuple[int, int, int, int]
"""Left, top, right, bottom, as Pillow's boxes."""


def find_text(image: "Image") -> list[Region]:
    """Where `image` (RGB) carries text, the surest first."""
    import numpy as np

    enlarged = min(LONGEST_SIDE / max(image.size), 2.0)
    width, height = (
        max(STRIDE, round(side * enlarged / STRIDE) * STRIDE)
        for side in (image.width, image.height)
    )
    probability = _run(_session(DETECTOR), image.resize((width, height)))[0, 0]
    across, down = image.width / width, image.height / height
    regions = []
    for left, top, right, bottom in _components(probability > TEXT_PROBABILITY):
        sure = float(np.mean(probability[top:bottom, left:right]))
        wide, high = right - left, bottom - top
        is_line = LEAST_SIDE <= min(wide, high) <= TALLEST_LINE * min(width, height)
        if not is_line or sure < REGION_PROBABILITY:
            continue
        grown = wide * high * UNCLIP / (2 * (wide + high))
        region = (
            max(0, int((left - grown) * across)),
            max(0, int((top - grown) * down)),
            min(image.width, round((right + grown) * across)),
            min(image.height, round((bottom + grown) * down)),
        )
        regions.append((sure, region))
    proposed = [region for _, region in sorted(regions, reverse=True)[:MOST_REGIONS]]
    recognizer = _session(RECOGNIZER) if proposed else None
    return [region for region in proposed if _is_text(recognizer, image.crop(region))]


def paint_over(image: "Image", regions: list[Region]) -> None:
    """Fill each region, in place, with the median colour of what surrounds it."""
    import numpy as np

    pixels = np.asarray(image)
    for left, top, right, bottom in regions:
        margin = max(3, (bottom - top) // 4)
        around = pixels[
            max(0, top - margin) : bottom + margin, max(0, left - margin) : right + margin
        ]
        outside = np.ones(around.shape[:2], bool)
        row, column = min(top, margin), min(left, margin)
        outside[row : row + bottom - top, column : column + right - left] = False
        ground = around[outside] if outside.any() else around.reshape(-1, 3)
        image.paste(tuple(int(v) for v in np.median(ground, axis=0)), (left, top, right, bottom))


def _is_text(recognizer: Any, line: "Image") -> bool:
    import numpy as np
    from PIL import Image

    if line.height > 1.5 * line.width:
        line = line.transpose(Image.Transpose.ROTATE_90)
    width = min(max(LINE_HEIGHT, line.width * LINE_HEIGHT // line.height), LONGEST_LINE)
    characters = _run(recognizer, line.resize((width, LINE_HEIGHT)))[0]
    best = characters.argmax(axis=1)
    # CTC (Graves et al. 2006): class 0 is no character, a repeated one counts once.
    starts = (best != 0) & (best != np.concatenate([[0], best[:-1]]))
    return bool(starts.any()) and float(characters.max(axis=1)[starts].mean()) >= SURE


def _components(mask: Any) -> list[Region]:
    """The boxes around groups of true cells that touch by a side or a corner."""
    import numpy as np

    edges = np.diff(np.pad(mask, ((0, 0), (1, 1))).astype(np.int8), axis=1)
    rows, starts = np.nonzero(edges == 1)
    ends = np.nonzero(edges == -1)[1]
    boxes: list[list[int]] = []
    owner: list[int] = []  # of each run of cells: a box, or one that it was merged into
    merged_into: list[int] = []

    def whose(box: int) -> int:
        while merged_into[box] != box:
            box = merged_into[box]
        return box

    above = 0
    for run, (row, start, end) in enumerate(zip(rows, starts, ends, strict=True)):
        while above < run and (
            rows[above] < row - 1 or (rows[above] == row - 1 and ends[above] < start)
        ):
            above += 1
        box = len(boxes)
        boxes.append([int(start), int(row), int(end), int(row) + 1])
        merged_into.append(box)
        other = above
        while other < run and rows[other] == row - 1 and starts[other] <= end:
            kept = whose(owner[other])
            if kept != box:
                merged_into[box] = kept
                boxes[kept] = [
                    *map(min, boxes[kept][:2], boxes[box][:2]),
                    *map(max, boxes[kept][2:], boxes[box][2:]),
                ]
                box = kept
            other += 1
        owner.append(box)
    return [
        (box[0], box[1], box[2], box[3])
        for number, box in enumerate(boxes)
        if merged_into[number] == number
    ]


def _session(model: str) -> Any:
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # from 1.29 on it reports each run to its maker
    import onnxruntime

    spec = importlib.util.find_spec(PACKAGE)
    assert spec is not None and spec.origin is not None  # asked for by the parent before
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    path = Path(spec.origin).parent / "models" / model
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def _run(session: Any, image: "Image") -> Any:
    """Blue first, from -1 to 1, as PaddleOCR was trained (through OpenCV)."""
    import numpy as np

    planes = np.asarray(image, np.float32)[..., ::-1].transpose(2, 0, 1)[None] / 127.5 - 1
    (answer,) = session.run(None, {session.get_inputs()[0].name: np.ascontiguousarray(planes)})
    return answer
