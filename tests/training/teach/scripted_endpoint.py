"""A real HTTP server that plays a teacher by a script and keeps what it is asked."""

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

from training.labels import label_table

LONGEST_SILENCE_S = 20
MODEL = "scripted-teacher-2026"
KEY = "sk-not-to-be-written-anywhere"


@dataclass(frozen=True)
class Play:
    """One response."""

    body: bytes
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    silent: bool = False
    """Says nothing until the server is closed."""


@dataclass(frozen=True)
class Request:
    path: str
    headers: dict[str, str]
    body: dict[str, Any]

    @property
    def picture(self) -> str:
        """The data URL that is shown."""
        url: str = self.body["messages"][1]["content"][1]["image_url"]["url"]
        return url


Script = Callable[[Request, int], Play]
"""The response to a request; the number counts requests from 0."""


class ScriptedEndpoint:
    """Open on a loopback port for as long as the `with` lasts."""

    def __init__(self, script: Script) -> None:
        self.requests: list[Request] = []
        self.closed = threading.Event()
        self.most_at_once = 0
        self._at_once = 0
        self._lock = threading.Lock()
        self._script = script
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}/v1"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.closed.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def play(self, request: Request) -> Play:
        with self._lock:
            number = len(self.requests)
            self.requests.append(request)
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
        try:
            play = self._script(request, number)
            if play.silent:
                self.closed.wait(LONGEST_SILENCE_S)
            return play
        finally:
            with self._lock:
                self._at_once -= 1

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        endpoint = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                play = endpoint.play(Request(self.path, dict(self.headers.items()), body))
                if play.silent:
                    self.close_connection = True
                    return
                self.send_response(play.status)
                for name, value in play.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(play.body)))
                self.end_headers()
                self.wfile.write(play.body)

            def log_message(self, format: str, *args: object) -> None:
                """Requests are kept, not printed."""

        return Handler


def completion(
    text: str | None,
    *,
    finish_reason: str = "stop",
    refusal: str | None = None,
    usage: dict[str, int] | None = None,
) -> Play:
    """A chat completion as OpenAI's endpoint has it."""
    message = {"role": "assistant", "content": text, "refusal": refusal}
    value = {
        "model": MODEL,
        "choices": [{"index": 0, "message": message, "finish_reason": finish_reason}],
        "usage": usage or {"prompt_tokens": 1000, "completion_tokens": 200},
    }
    return Play(json.dumps(value).encode())


def caption_text(label: str) -> str:
    """What a teacher that gives this label says."""
    (row,) = (row for row in label_table() if row.name == label)
    return json.dumps({**vars(row.caption)})


def failure(status: int, message: str = "not now", **headers: str) -> Play:
    body = json.dumps({"error": {"message": message}}).encode()
    return Play(body, status, {name.replace("_", "-"): value for name, value in headers.items()})
