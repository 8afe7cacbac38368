"""The process that llama.cpp lives in.

    python -m appliance.edges.llama_child

Speaks JSON lines on the descriptors it was started with: first a line that says what to load, then
for each picture a line {"ask": "read" or "embed", "rgb_bytes": N} and N bytes; each is answered by
one line: {"text", "label_scores", "spent_s", "memory_bytes"}, {"embedding", "columns"} (float32,
base64) or {"error"}. llama.cpp may write to descriptors 1 and 2 as it likes: they lead nowhere.
"""

import base64
import json
import os
import resource
import sys
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from appliance.edges.llama_engine import Engine


def main() -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core file would hold the picture
    requests, replies = sys.stdin.buffer, _private_stdout()
    wanted = json.loads(requests.readline())
    from appliance.core.labels import Label, LabelSet
    from appliance.edges.llama_engine import Engine, EngineError

    try:
        labels = LabelSet(tuple(Label(name, domain) for name, domain in wanted["labels"]))
        engine = Engine(
            wanted["model"],
            wanted["projector"],
            labels,
            wanted["image_size"],
            wanted["prompt_version"],
            wanted["threads"],
        )
    except EngineError as exc:
        _reply(replies, {"error": str(exc)})
        return
    _reply(replies, {"ready": True})
    while line := requests.readline():
        request = json.loads(line)
        rgb = requests.read(request["rgb_bytes"])
        try:
            answer = _embedding if request["ask"] == "embed" else _reading
            _reply(replies, answer(engine, rgb))
        except EngineError as exc:
            _reply(replies, {"error": str(exc)})


def _reading(engine: "Engine", rgb: bytes) -> dict[str, Any]:
    text, scores = engine.read(rgb)
    return {
        "text": text,
        "label_scores": scores,
        "spent_s": engine.spent_s,
        "memory_bytes": _most_memory_bytes(),
    }


def _most_memory_bytes() -> int:
    """The most this process has held. getrusage would count what the parent held at the fork."""
    try:
        with Path("/proc/self/status").open(encoding="ascii") as status:
            lines = dict(line.split(":", 1) for line in status)
        return int(lines["VmHWM"].split()[0]) * 1024
    except (OSError, KeyError):  # not Linux
        return 0


def _embedding(engine: "Engine", rgb: bytes) -> dict[str, Any]:
    found = engine.embed(rgb)
    encoded = base64.b64encode(found.tobytes()).decode()
    return {"embedding": encoded, "columns": found.shape[1]}


def _private_stdout() -> IO[bytes]:
    """Keep the pipe to the parent for ourselves; point descriptor 1 at nothing."""
    private = os.dup(1)
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 1)
    return os.fdopen(private, "wb")


def _reply(replies: IO[bytes], value: dict[str, Any]) -> None:
    replies.write(json.dumps(value).encode() + b"\n")
    replies.flush()


if __name__ == "__main__":
    main()
