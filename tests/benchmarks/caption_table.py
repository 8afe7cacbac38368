"""The real command over real test images: accuracy, JSON validity, seconds a picture.

    python -m tests.benchmarks.caption_table --data DIR [--per-domain 200] [--k 3]

Writes so many images of each domain's test split to a temporary folder, as the data set has them,
and runs `appliance caption --json` on all of them once.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from training.datasets import FILES, Example, encoded_images, in_split, read_examples
from training.labels import label_set
from training.metrics import domain_scores


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--per-domain", type=int, default=200)
    parser.add_argument("--k", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        truth = write_images(options.data, Path(folder), options.per_domain)
        report(truth, caption(list(truth), options.k))


def write_images(data: Path, folder: Path, per_domain: int) -> dict[str, Example]:
    """Path of each image written, and what is known of it."""
    examples, _ = read_examples(data)
    images = {dataset: encoded_images(data, dataset) for dataset in FILES}
    rng = np.random.default_rng(0)
    truth = {}
    test = list(in_split(examples, "test"))
    for domain in ("skin", "fundus", "chest"):
        inside = [i for i in test if examples[i].domain == domain]
        for index in rng.choice(inside, min(per_domain, len(inside)), replace=False):
            example = examples[index]
            path = folder / f"{example.dataset}-{example.row}"
            path.write_bytes(images[example.dataset][example.row])
            truth[str(path)] = example
    return truth


def caption(paths: list[str], k: int) -> list[dict[str, Any]]:
    command = [sys.executable, "-m", "appliance", "caption", "--json", "--k", str(k), *paths]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    return [json.loads(line) for line in done.stdout.splitlines()]


def report(truth: dict[str, Example], results: list[dict[str, Any]]) -> None:
    labels = label_set()
    asked = [truth[result["image"]["path"]] for result in results]
    wanted = np.array([labels.names.index(example.label) for example in asked])
    groups = np.array([example.group for example in asked])
    found = np.array(
        [
            labels.names.index(result["caption"]["label"]) if result["caption"] else -1
            for result in results
        ]
    )
    total = [sum(result["timings_ms"].values()) / 1000 for result in results]
    valid = float(np.mean([result["caption"] is not None for result in results]))
    domain_right = float(
        np.mean(
            [
                result["domain"] == example.domain
                for result, example in zip(results, asked, strict=True)
            ]
        )
    )
    print(f"{len(results)} of {len(truth)} answered; JSON valid {valid:.3f}; ", end="")
    print(f"domain right {domain_right:.3f}; median {statistics.median(total):.3f} s a picture")
    for stage in ("open", "caption", "lookup"):
        times = [result["timings_ms"][stage] for result in results if stage in result["timings_ms"]]
        if times:
            print(f"  {stage:<8} median {statistics.median(times):.1f} ms")
    for domain, scores in domain_scores(labels, wanted, found, groups).items():
        low, high = scores.accuracy_interval
        kinds = [
            result["decision"]["kind"]
            for result, example in zip(results, asked, strict=True)
            if result["decision"] and example.domain == domain
        ]
        shares = ", ".join(
            f"{kind} {kinds.count(kind) / len(kinds):.2f}" for kind in ("label", "set", "abstain")
        )
        print(
            f"{domain:<7} n {scores.images:>4}  accuracy {scores.accuracy:.3f} "
            f"({low:.3f}-{high:.3f})  balanced {scores.balanced_accuracy:.3f}  {shares}"
        )


if __name__ == "__main__":
    main()
