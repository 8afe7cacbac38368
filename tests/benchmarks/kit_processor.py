"""Does an installed kit read on an older processor, and what does it read there?

    python tests/benchmarks/kit_processor.py PYTHON [--processor SandyBridge ...]

PYTHON is `venv/bin/python` of a slot. Its engine reads the drawings here and under qemu-user
(Debian: qemu-user), which emulates the processor: what that one lacks ends the process. Printed:
which kernels were loaded, and the largest difference of a label's probability.
"""

import argparse
import json
import subprocess
import time
from itertools import chain
from typing import Any

READ = """
import json, math, sys
from pathlib import Path
from appliance.core.labels import DOMAINS
from appliance.edges import llama_child
from appliance.release.drawings import draw
from appliance.release.manifest import read_phrases
from appliance.release.shelf import DEMONSTRATION, find_release
release = find_release(Path("/"), DEMONSTRATION)
engine = llama_child._load({
    "model": str(release.model), "encoder": str(release.projector), "encoder_report": None,
    "labels": [(label.name, label.domain) for label in release.card.labels],
    "image_size": release.card.image_size, "prompt_version": release.card.prompt_version,
    "threads": 1, "captions": read_phrases(release)})
answers = [engine.read(draw(domain, 0, release.card.image_size).rgb) for domain in DOMAINS]
maps = Path("/proc/self/maps").read_text().split()
kernels = sorted({Path(p).name for p in maps if "libggml-cpu" in p})
print(json.dumps({"kernels": kernels, "texts": [answer.text for answer in answers],
                  "scores": [[math.exp(s) for s in a.label_scores] for a in answers]}))
"""


def read(python: str, processor: str = "") -> tuple[dict[str, Any] | None, float]:
    """None when the process died."""
    emulator = ["qemu-x86_64", "-cpu", processor] if processor else []
    started_s = time.monotonic()
    done = subprocess.run(
        [*emulator, python, "-I", "-c", READ], capture_output=True, text=True, check=False
    )
    seconds = time.monotonic() - started_s
    return (json.loads(done.stdout) if done.returncode == 0 else None), seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("python")
    parser.add_argument("--processor", action="append", default=[])
    given = parser.parse_args()
    here, _ = read(given.python)
    assert here is not None, "it does not read on this machine"
    print("here:", ", ".join(here["kernels"]))
    for processor in given.processor or ["Westmere", "SandyBridge", "Haswell"]:
        there, seconds = read(given.python, processor)
        if there is None:
            print(f"{processor}: does not run")
            continue
        pairs = zip(chain(*here["scores"]), chain(*there["scores"]), strict=True)
        largest = max(abs(one - other) for one, other in pairs)
        same = sum(a == b for a, b in zip(here["texts"], there["texts"], strict=True))
        print(
            f"{processor}: reads in {seconds:.0f} s emulated; largest difference {largest:.1e}; "
            f"{same} of {len(here['texts'])} captions the same"
        )


if __name__ == "__main__":
    main()
