"""Claims about teaching by llama.cpp's own OpenAI-compatible server, with the shipped release."""

import importlib.util
import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

import appliance.release
from tests.training.teach.teaching import kept, rejected, run_teach
from training.labels import label_set

RELEASE = Path(appliance.release.__file__).parent / "demonstration"
START_S = 60
MOST_OUTPUT_TOKENS = 60

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def base_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    if not (RELEASE / "model.gguf").is_file():
        pytest.skip("the demonstration release is not in this checkout")
    missing = [
        name
        for name in ("fastapi", "uvicorn", "sse_starlette", "starlette_context")
        if importlib.util.find_spec(name) is None
    ]
    if missing:
        pytest.skip(f"llama-cpp-python's server needs {', '.join(missing)}: its extra `server`")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "llama_cpp.server", "--chat_format", "mtmd"]
    command += ["--model", str(RELEASE / "model.gguf"), "--port", str(port), "--n_ctx", "4096"]
    command += ["--clip_model_path", str(RELEASE / "mmproj.gguf"), "--host", "127.0.0.1"]
    log = tmp_path_factory.mktemp("server") / "log"
    with log.open("wb") as file:
        server = subprocess.Popen(command, stdout=file, stderr=file)
        try:
            _wait_until_up(port, server, log)
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            server.kill()
            server.wait()


def _wait_until_up(port: int, server: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + START_S
    with httpx.Client(trust_env=False) as client:
        while time.monotonic() < deadline:
            assert server.poll() is None, log.read_text(errors="replace")
            try:
                client.get(f"http://127.0.0.1:{port}/v1/models")
                return
            except httpx.HTTPError:
                time.sleep(0.2)  # nothing to wait on: another process opens its port
    raise AssertionError(log.read_text(errors="replace"))


def test_llama_cpps_server_reads_images_and_keeps_to_the_schema(
    base_url: str, data: Path, tmp_path: Path
) -> None:
    settings: dict[str, Any] = {
        "model": "demonstration",
        "answer_format": "json_object",
        "output_limit": "max_tokens",
        "most_output_tokens": MOST_OUTPUT_TOKENS,
        "asked_per_label": 1,
        "timeout_s": 300,
        "concurrency": 1,
    }
    result = run_teach(base_url, data, tmp_path, **settings)
    assert result.exit_code == 0, result.stderr
    assert len(kept(tmp_path)) + len(rejected(tmp_path)) == 3
    answers = [json.loads(p.read_text()) for p in (tmp_path / "run" / "answers").iterdir()]
    assert len(answers) == 3, "every image got an answer"
    starts = tuple(f'{{"label": "{name}"' for name in label_set().in_domain("chest"))
    for answer in answers:
        assert answer["text"].replace('{ "', '{"').startswith(starts), "the schema was forced"
        assert answer["input_tokens"] > 100 and answer["output_tokens"] <= MOST_OUTPUT_TOKENS
