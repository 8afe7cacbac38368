"""What llama.cpp's converter makes of a few models, kept so that no test needs the converter.

    LLAMA_CPP_SOURCE=.../vendor/llama.cpp python -m tests.export.converter_golden

writes converter_golden.json anew: keys with their values (long arrays as length and SHA-256), and
name, type and shape of every tensor. Weights are holes in the file: only their shapes matter.
"""

import hashlib
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.export.llama_converter import VARIABLE, Listing, list_converted, llama_cpp_source
from tests.export.published import MEDGEMMA_4B, MEDGEMMA_27B, TINY, Published, write_folder

FILE = Path(__file__).with_suffix(".json")
NAME = "golden"
MODELS: dict[str, Published] = {
    "tiny": TINY,
    "medgemma-4b-it": MEDGEMMA_4B,
    "medgemma-27b-it": MEDGEMMA_27B,
}
"""By folder, whose name the converter reads size and finetune from."""
LONG = 64


def shortened(listing: Listing) -> Listing:
    """Arrays of more than LONG elements as their length and SHA-256."""
    return {**listing, "keys": {key: _short(row) for key, row in listing["keys"].items()}}


def _short(row: list[Any]) -> list[Any]:
    kind, element, value = row
    if not isinstance(value, list) or len(value) <= LONG:
        return row
    digest = hashlib.sha256(json.dumps(value).encode()).hexdigest()
    return [kind, element, {"length": len(value), "sha256": digest}]


def main() -> None:
    source = llama_cpp_source()
    if source is None:
        sys.exit(f"set {VARIABLE} to llama.cpp's source tree")
    golden: dict[str, Any] = {"made_by": "python -m tests.export.converter_golden"}
    for name, model in MODELS.items():
        with tempfile.TemporaryDirectory() as place:
            folder = write_folder(Path(place) / name, model, fill=None)
            golden[name] = {
                part: shortened(list_converted(source, folder, NAME, vision=part == "vision"))
                for part in ("text", "vision")
            }
    FILE.write_text(json.dumps(golden, separators=(",", ":")) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
