"""The process that llama.cpp and ONNX Runtime live in.

    python -m appliance.edges.llama_child

Speaks JSON lines on the descriptors it was started with: first a line that says what to load, then
for each picture a line {"ask": ..., "rgb_bytes": N, ...} and N bytes; each is answered by one line:

    read      {"text", "label_scores", "spent_s", "memory_bytes"}
    features  {"features"}
    embed     {"embedding", "columns"}, float32 in base64

or {"error"}. Native code may write to descriptors 1 and 2 as it likes: they lead nowhere.
"""

import base64
import fcntl
import json
import os
import resource
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from appliance.edges.no_network import forbid_network

if TYPE_CHECKING:
    from appliance.edges.llama_engine import Engine


def main() -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core file would hold the picture
    forbid_network()
    requests, replies = sys.stdin.buffer, _private_stdout()
    wanted = json.loads(requests.readline())
    from appliance.edges.llama_decoder import EngineError

    try:
        engine = _load(wanted)
    except EngineError as exc:
        _reply(replies, {"error": str(exc)})
        return
    _reply(replies, {"ready": True})
    answers = {"read": _reading, "features": _features, "embed": _embedding}
    turn: Turn | nullcontext[None] = (
        Turn(wanted["model"]) if wanted["threads"] > 1 else nullcontext()
    )
    while line := requests.readline():
        request = json.loads(line)
        rgb = requests.read(request["rgb_bytes"])
        try:
            with turn:
                answer = answers[request["ask"]](engine, rgb, request)
        except EngineError as exc:
            answer = {"error": str(exc)}
        _reply(replies, answer)


class Turn:
    """A context that one process of those with this model file is in at a time: the threads of two
    would wait for each other far longer than they work."""

    def __init__(self, model: str) -> None:
        self._file = os.open(model, os.O_RDONLY)

    def __enter__(self) -> None:
        fcntl.flock(self._file, fcntl.LOCK_EX)

    def __exit__(self, *failure: object) -> None:
        fcntl.flock(self._file, fcntl.LOCK_UN)


def _load(wanted: dict[str, Any]) -> "Engine":
    """Raises: EngineError."""
    from appliance.core.labels import Label, LabelSet
    from appliance.edges.llama_decoder import Decoder
    from appliance.edges.llama_engine import SCORED_AT_ONCE, Engine
    from appliance.edges.vision_encoders import ggml_encoder, onnx_encoder

    labels = LabelSet(tuple(Label(name, domain) for name, domain in wanted["labels"]))
    threads, image_size = wanted["threads"], wanted["image_size"]
    decoder = Decoder(wanted["model"], threads, min(len(labels), SCORED_AT_ONCE) + 1)
    encode = (
        onnx_encoder(wanted["encoder"], wanted["encoder_report"], image_size, threads)
        if wanted["encoder_report"]
        else ggml_encoder(wanted["encoder"], decoder.model, image_size, threads)
    )
    return Engine(decoder, encode, labels, image_size, wanted["prompt_version"], wanted["captions"])


def _reading(engine: "Engine", rgb: bytes, request: dict[str, Any]) -> dict[str, Any]:
    if request["anew"]:
        engine.forget_picture()
    answer = engine.read(rgb, guess=request["guess"])
    return {
        "text": answer.text,
        "label_scores": answer.label_scores,
        "spent_s": answer.spent_s,
        "memory_bytes": _most_memory_bytes(),
    }


def _features(engine: "Engine", rgb: bytes, request: dict[str, Any]) -> dict[str, Any]:
    return {"features": engine.embed(rgb).mean(axis=0).tolist()}


def _embedding(engine: "Engine", rgb: bytes, request: dict[str, Any]) -> dict[str, Any]:
    found = engine.embed(rgb)
    encoded = base64.b64encode(found.tobytes()).decode()
    return {"embedding": encoded, "columns": found.shape[1]}


def _most_memory_bytes() -> int:
    """The most this process has held. getrusage would count what the parent held at the fork."""
    try:
        with Path("/proc/self/status").open(encoding="ascii") as status:
            lines = dict(line.split(":", 1) for line in status)
        return int(lines["VmHWM"].split()[0]) * 1024
    except (OSError, KeyError):  # not Linux
        return 0


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
