"""Schemas that are there to be fetched, over HTTP and from a file, and who asked for them."""

from __future__ import annotations

import contextlib
import http.client
import json
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# Whoever resolves a reference to it gets a schema that refuses nothing, and no error.
PERMISSIVE = json.dumps({"title": "from elsewhere"})
NAME = "schema.json"


@dataclass(slots=True)
class Elsewhere:
    """Places outside of a schema.

    Attributes:
        http: URL of a folder on a server that gives `PERMISSIVE` under every name.
        file: URL of a folder that has `PERMISSIVE` in the file `NAME`.
        asked: paths that the server was asked for.
    """

    http: str
    file: str
    asked: list[str] = field(default_factory=list)

    def folders(self) -> tuple[str, str]:
        return self.http, self.file

    def prove_that_it_is_there(self, folder: Path) -> None:
        """Fetches both, so that a test that saw no request would have seen one."""
        assert self.asked == []
        host = self.http.removeprefix("http://").rstrip("/")
        with contextlib.closing(http.client.HTTPConnection(host, timeout=10)) as connection:
            connection.request("GET", f"/{NAME}")
            assert connection.getresponse().read().decode() == PERMISSIVE
        assert self.asked == [f"/{NAME}"]
        assert (folder / NAME).read_text() == PERMISSIVE


@contextlib.contextmanager
def elsewhere(folder: Path) -> Iterator[Elsewhere]:
    """Serves a schema, and puts one into a folder."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            there.asked.append(self.path)
            body = PERMISSIVE.encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/schema+json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_HEAD = do_GET  # noqa: N815 - likewise.

        def log_message(self, *_: Any) -> None:
            """Keeps quiet."""

    (folder / NAME).write_text(PERMISSIVE)
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        port = server.server_address[1]
        there = Elsewhere(f"http://127.0.0.1:{port}/", f"{folder.as_uri()}/")
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield there
        finally:
            server.shutdown()
            thread.join()
