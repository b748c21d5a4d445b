"""Hosts a schema over HTTP and in a file, and records the requests."""

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

# Resolving a reference to this schema would succeed and accept every value.
PERMISSIVE = json.dumps({"title": "hosted"})
NAME = "schema.json"


@dataclass(slots=True)
class SchemaHost:
    """A schema outside the schema under test.

    Attributes:
        http: URL of a folder on a server that returns `PERMISSIVE` for every name.
        file: URL of a folder with `PERMISSIVE` in the file `NAME`.
        requests: the paths that were requested from the server.
    """

    http: str
    file: str
    requests: list[str] = field(default_factory=list)

    def folders(self) -> tuple[str, str]:
        return self.http, self.file

    def assert_reachable(self, folder: Path) -> None:
        """Asserts that nothing was requested so far, and that both copies can be fetched."""
        assert self.requests == []
        host = self.http.removeprefix("http://").rstrip("/")
        with contextlib.closing(http.client.HTTPConnection(host, timeout=10)) as connection:
            connection.request("GET", f"/{NAME}")
            assert connection.getresponse().read().decode() == PERMISSIVE
        assert self.requests == [f"/{NAME}"]
        assert (folder / NAME).read_text() == PERMISSIVE


@contextlib.contextmanager
def schema_host(folder: Path) -> Iterator[SchemaHost]:
    """Serves a schema and writes it to a folder."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            host.requests.append(self.path)
            body = PERMISSIVE.encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/schema+json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_HEAD = do_GET  # noqa: N815 - the base class names it.

        def log_message(self, *_: Any) -> None:
            """Logs nothing."""

    (folder / NAME).write_text(PERMISSIVE)
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        port = server.server_address[1]
        host = SchemaHost(f"http://127.0.0.1:{port}/", f"{folder.as_uri()}/")
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield host
        finally:
            server.shutdown()
            thread.join()
