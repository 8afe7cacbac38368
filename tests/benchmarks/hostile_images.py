"""Every file of folders of hostile images, opened as the appliance opens one.

python -m tests.benchmarks.hostile_images FOLDER...

Prints what each became, with its seconds, and fails when one takes over 30 s or its child over
2 GiB, or ends in anything but a picture or an ImageError of a known code.
"""

import resource
import sys
import time
from collections import Counter
from pathlib import Path

from appliance.edges.images import ImageFiles
from appliance.errors import ImageError

MOST_S = 30
MOST_BYTES = 2 << 30
SIZE = 128
CODES = {
    "image-empty",
    "image-unknown",
    "image-damaged",
    "image-too-large",
    "image-compression",
    "image-no-pixels",
    "image-timeout",
}


def outcome(path: Path) -> str:
    """ "picture" or the code of the refusal."""
    try:
        picture = ImageFiles().open(str(path), SIZE)
    except ImageError as exc:
        assert exc.code in CODES and exc.hint, (path, exc.code)
        return exc.code
    assert len(picture.rgb) == SIZE * SIZE * 3
    return "picture"


def main() -> None:
    files = [path for folder in sys.argv[1:] for path in sorted(Path(folder).iterdir())]
    counted: Counter[str] = Counter()
    slowest_s = 0.0
    for path in files:
        started = time.perf_counter()
        found = outcome(path)
        took_s = time.perf_counter() - started
        counted[found] += 1
        slowest_s = max(slowest_s, took_s)
        print(f"{took_s:6.2f} s  {found:18}  {path.name}")
    most_bytes = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
    print(f"{len(files)} files: {dict(counted)}")
    print(f"slowest {slowest_s:.1f} s, largest child {most_bytes / 1e6:.0f} MB")
    assert slowest_s <= MOST_S and most_bytes <= MOST_BYTES


if __name__ == "__main__":
    main()
