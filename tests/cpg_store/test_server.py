"""Claims about an index on a server: the same commands, seen by every box, and no old server."""

import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest

from cpg_store.embed import Embedder
from cpg_store.errors import IndexDamaged, ServerRefused
from cpg_store.index import Index
from cpg_store.ingest import add_document
from cpg_store.search import search
from cpg_store.server import IndexServer
from cpg_store.vectors import refuse_foreign_configuration
from tests.cpg_store.killed_add import GOUT, SCABIES

CHROMA = str(Path(sys.executable).with_name("chroma"))
STARTS_WITHIN_S = 60


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[IndexServer]:
    """A real server on this machine, which the appliance itself never starts."""
    folder = tmp_path_factory.mktemp("server")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [CHROMA, "run", "--path", str(folder), "--host", "127.0.0.1", "--port", str(port)]
    running = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    found = IndexServer.at(f"http://127.0.0.1:{port}")
    try:
        for _ in range(STARTS_WITHIN_S * 5):
            try:
                found.refuse_older()
                break
            except ServerRefused:
                time.sleep(0.2)
        yield found
    finally:
        running.kill()
        running.wait()


def test_what_one_box_adds_and_removes_every_box_sees(
    server: IndexServer, tmp_path: Path, embedder: Embedder
) -> None:
    for name, text in (("gout.md", GOUT), ("scabies.md", SCABIES)):
        (tmp_path / name).write_text(text)
    with (
        Index.open(tmp_path / "one", embedder, server=server) as one,
        Index.open(tmp_path / "two", embedder, server=server) as two,
    ):
        added = add_document(one, tmp_path / "scabies.md").document
        assert not add_document(two, tmp_path / "scabies.md").was_new
        assert [each.passage.text for each in search(two, "permethrin for scabies")] == [
            each.passage.text for each in search(one, "permethrin for scabies")
        ]
        assert len(search(two, "permethrin for scabies")) == 1
        add_document(two, tmp_path / "gout.md")
        assert len(search(one, "colchicine for gout")) == 1
        assert one.check() == two.check() == []
        assert two.remove(added.document_id)
        assert search(one, "permethrin for scabies") == []
        assert one.documents() == two.documents()
        assert one.check() == two.check() == []


def test_a_box_follows_what_happened_while_it_was_off(
    server: IndexServer, tmp_path: Path, embedder: Embedder
) -> None:
    (tmp_path / "wart.md").write_text("# Warts\nFreeze a wart with liquid nitrogen.\n")
    with Index.open(tmp_path / "one", embedder, server=server) as one:
        document = add_document(one, tmp_path / "wart.md").document
    with Index.open(tmp_path / "late", embedder, server=server) as late:
        assert len(search(late, "liquid nitrogen for a wart")) == 1
        late.remove(document.document_id)


class OldServer(BaseHTTPRequestHandler):
    """Answers as a server of the version given, and says what it is like."""

    answers: ClassVar[dict[str, Any]] = {}

    def do_GET(self) -> None:
        content = json.dumps(self.answers.get(self.path)).encode()
        self.send_response(200)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Nothing on the terminal."""


@pytest.mark.parametrize(
    "answers",
    [
        {"/api/v2/version": "1.5.8"},
        {"/api/v2/version": "0.6.3"},
        {"/api/v2/version": "1.0.0", "/openapi.json": {"components": {"schemas": {"Old": {}}}}},
        {"/api/v2/version": "1.0.0"},
        {"/api/v2/version": {"no": "version"}},
        {"/api/v2/version": "latest"},
    ],
)
def test_a_server_older_than_the_fixed_version_is_refused(
    answers: dict[str, Any], tmp_path: Path, embedder: Embedder
) -> None:
    handler = type("Handler", (OldServer,), {"answers": answers})
    with HTTPServer(("127.0.0.1", 0), handler) as old:
        thread = threading.Thread(target=old.serve_forever)
        thread.start()
        try:
            server = IndexServer.at(f"http://127.0.0.1:{old.server_port}")
            with pytest.raises(ServerRefused, match="index server") as refusal:
                Index.open(tmp_path / "index", embedder, server=server)
            assert "index_server" in refusal.value.hint
        finally:
            old.shutdown()
            thread.join()


def test_a_server_that_does_not_answer_is_named(tmp_path: Path, embedder: Embedder) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        server = IndexServer.at(f"http://127.0.0.1:{closed.getsockname()[1]}")
        with pytest.raises(ServerRefused, match="does not answer"):
            Index.open(tmp_path / "index", embedder, server=server)


@pytest.mark.parametrize(
    "url",
    ["", "localhost:8000", "ftp://a:1", "http://a", "http://a:b", "http://u:p@a:1", "http://a:1/x"],
)
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(ServerRefused, match="not the address"):
        IndexServer.at(url)


def test_a_server_that_names_an_embedding_function_is_refused() -> None:
    stored = {"configuration_json": {"embedding_function": {"type": "known", "name": "default"}}}
    with pytest.raises(IndexDamaged, match="not ours"):
        refuse_foreign_configuration(stored, "http://a:1")
