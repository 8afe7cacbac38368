"""Is every forgery of a kit refused? Single-bit flips over all its bytes, and the known tricks.

    python tests/benchmarks/kit_forged.py [--flips 500]

A stand-in's kit, with the real keys, signatures and verifier. What each trick is, tests/kit says;
here they are counted, and nothing may be written beside the kit.
"""

import argparse
import json
import random
import sys
import tempfile
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from appliance.errors import KitError
from appliance.kit.install import install
from appliance.kit.verify import MANIFEST, SIGNATURES
from tests.kit.stub_kits import Bench, imprint, make_bench


def is_refused(bench: Bench, kit: Path) -> bool:
    try:
        install(kit, bench.place, lambda text: None, lambda: bench.code)
    except KitError:
        return True
    return False


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--flips", type=int, default=500)
    given = parser.parse_args()
    rng = random.Random(500)
    counts = Counter[str]()
    with tempfile.TemporaryDirectory() as name:
        bench = make_bench(Path(name))
        install(bench.kit(1), bench.place, lambda text: None, lambda: bench.code)
        kit = bench.kit(2)
        before = imprint(bench.place.prefix)
        payload = [path for path in kit.rglob("*") if path.is_file()]
        kinds = {"manifest": [kit / MANIFEST], "signatures": [kit / SIGNATURES], "files": payload}
        for number in range(given.flips):
            kind = list(kinds)[number % 3]
            path = rng.choice(kinds[kind])
            content = path.read_bytes()
            changed = bytearray(content)
            changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
            path.write_bytes(changed)
            refused = is_refused(bench, kit)
            counts[f"{kind} refused" if refused else f"{kind} ACCEPTED"] += 1
            path.write_bytes(content)
            if not refused:
                print("ACCEPTED", path, flush=True)
        unchanged = imprint(bench.place.prefix) == before
        counts["the untouched kit refused"] += is_refused(bench, kit)
    print(json.dumps({**counts, "machine unchanged by refusals": unchanged}, indent=1))


if __name__ == "__main__":
    main()
