"""A teaching run as a test sets it up: the committed recipe made small, a teacher that knows."""

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

from tests.training.teach.scripted_endpoint import (
    KEY,
    Request,
    Script,
    ScriptedEndpoint,
    caption_text,
    completion,
)
from training.datasets import FILES, encoded_images, read_examples
from training.teach.asking import image_data_url
from training.teach.command import teach

CONFIG = Path(__file__).resolve().parents[3] / "training" / "configs" / "teach-gpt5.toml"
KEY_VARIABLE = "TEACHER_KEY"
SIDE = 768
Teacher = Callable[[Request], str]


def recipe_text(address: str, **changes: object) -> str:
    """The committed recipe, small and quick, at another address."""
    values: dict[str, object] = {
        "domains": ["chest"],
        "kept_per_label": 1,
        "asked_per_label": 4,
        "base_url": address,
        "api_key_variable": KEY_VARIABLE,
        "concurrency": 2,
        "timeout_s": 5,
        "most_attempts": 3,
        "first_wait_s": 0.01,
        "longest_wait_s": 3,
    }
    lines = []
    for line in CONFIG.read_text(encoding="utf-8").splitlines():
        name = line.partition(" = ")[0]
        new = (values | changes).get(name)
        lines.append(line if new is None else f"{name} = {json.dumps(new)}")
    return "\n".join(lines)


def run_teach(
    server: ScriptedEndpoint | str,
    data: Path,
    folder: Path,
    *options: str,
    key: str | None = KEY,
    **changes: object,
) -> Result:
    address = server if isinstance(server, str) else server.base_url
    config = folder / "teach.toml"
    config.write_text(recipe_text(address, **changes), encoding="utf-8")
    arguments = ["--data", data, "--config", config, "--run", folder / "run", *options]
    environment = {KEY_VARIABLE: key, "NO_PROXY": "127.0.0.1"}
    return CliRunner(env=environment).invoke(
        teach, list(map(str, arguments)), catch_exceptions=False
    )


def knowing(data: Path) -> Teacher:
    """A teacher that recognises every picture."""
    examples, _ = read_examples(data)
    images = {dataset: encoded_images(data, dataset) for dataset in FILES}
    label = {image_data_url(images[e.dataset][e.row], SIDE): e.label for e in examples}
    return lambda request: label[request.picture]


def always_right(data: Path) -> Script:
    know = knowing(data)
    return lambda request, _: completion(caption_text(know(request)))


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def kept(folder: Path) -> list[dict[str, Any]]:
    return lines(folder / "run" / "captions.jsonl")


def rejected(folder: Path) -> list[dict[str, Any]]:
    return lines(folder / "run" / "rejects.jsonl")


def pictures(server: ScriptedEndpoint) -> Counter[str]:
    return Counter(request.picture for request in server.requests)


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
