"""The process that llama.cpp lives in.

    python -m appliance.edges.llama_child

Speaks JSON lines on the descriptors it was started with: first a line that says what to load, then
for each picture a line {"rgb_bytes": N} and N bytes; each is answered by one line, {"text",
"label_scores"} or {"error"}. llama.cpp may write to descriptors 1 and 2 as it likes: they lead
nowhere.
"""

import json
import os
import resource
import sys
from typing import IO, Any


def main() -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core file would hold the picture
    requests, replies = sys.stdin.buffer, _private_stdout()
    wanted = json.loads(requests.readline())
    from appliance.core.labels import Label, LabelSet
    from appliance.edges.llama_engine import Engine, EngineError

    try:
        labels = LabelSet(tuple(Label(name, domain) for name, domain in wanted["labels"]))
        engine = Engine(
            wanted["model"], wanted["projector"], labels, wanted["image_size"], wanted["threads"]
        )
    except EngineError as exc:
        _reply(replies, {"error": str(exc)})
        return
    _reply(replies, {"ready": True})
    while line := requests.readline():
        rgb = requests.read(json.loads(line)["rgb_bytes"])
        try:
            text, scores = engine.read(rgb)
            _reply(replies, {"text": text, "label_scores": scores})
        except EngineError as exc:
            _reply(replies, {"error": str(exc)})


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
