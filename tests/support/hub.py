"""A stand-in for the Hugging Face Hub on loopback, which serves one model folder.

A client finds it by `Hub.endpoint` in the variable ``HF_ENDPOINT``.
"""

from __future__ import annotations

import hashlib
import json
import threading
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Self
from urllib.parse import unquote, urlsplit

if TYPE_CHECKING:
    from pathlib import Path

_COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub:
    """Serves the files of `folder` as the repository `name`, until the context ends.

    Attributes:
        name: the repository's name.
        requested: paths that were asked for.

    """

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self.requested: list[str] = []
        files = {file.name: file for file in folder.iterdir() if file.is_file()}
        requested = self.requested

        class Handler(BaseHTTPRequestHandler):
            def do_HEAD(self) -> None:
                self._answer(with_body=False)

            def do_GET(self) -> None:
                self._answer(with_body=True)

            def log_message(self, *_: object) -> None:
                """Keeps the tests' output clean."""

            def _answer(self, *, with_body: bool) -> None:
                path = unquote(urlsplit(self.path).path)
                requested.append(path)
                body = _about(name, path, files)
                if body is not None:
                    self._send(HTTPStatus.OK, body if with_body else b"", size=len(body))
                    return
                file = files.get(path.removeprefix(f"/{name}/resolve/").partition("/")[2])
                if file is None or not path.startswith(f"/{name}/resolve/"):
                    known = path.startswith((f"/{name}/", f"/api/models/{name}/"))
                    code = "EntryNotFound" if known else "RepoNotFound"
                    self._send(HTTPStatus.NOT_FOUND, b"", {"X-Error-Code": code})
                    return
                content = file.read_bytes()
                headers = {
                    "ETag": f'"{hashlib.sha256(content).hexdigest()}"',
                    "X-Repo-Commit": _COMMIT,
                }
                self._send(HTTPStatus.OK, content if with_body else b"", headers, len(content))

            def _send(
                self,
                status: HTTPStatus,
                body: bytes,
                headers: dict[str, str] | None = None,
                size: int | None = None,
            ) -> None:
                self.send_response(status)
                self.send_header("Content-Length", str(len(body) if size is None else size))
                for header, value in (headers or {}).items():
                    self.send_header(header, value)
                self.end_headers()
                self.wfile.write(body)

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    @property
    def endpoint(self) -> str:
        """The address for ``HF_ENDPOINT``."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def environment(self, home: Path) -> dict[str, str]:
        """The variables of a process that has this hub and keeps downloads in `home`."""
        return {
            "HF_ENDPOINT": self.endpoint,
            "HF_HOME": str(home),
            "HF_HUB_OFFLINE": "0",
            "HF_HUB_DISABLE_XET": "1",
            "NO_PROXY": "127.0.0.1",
        }

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


def _about(name: str, path: str, files: dict[str, Path]) -> bytes | None:
    """The answer to a question about the repository; None if the path is none."""
    if path in (f"/api/models/{name}", f"/api/models/{name}/revision/main") or path == (
        f"/api/models/{name}/revision/{_COMMIT}"
    ):
        return json.dumps(
            {
                "id": name,
                "modelId": name,
                "sha": _COMMIT,
                "tags": [],
                "siblings": [
                    {"rfilename": file, "size": files[file].stat().st_size}
                    for file in sorted(files)
                ],
            }
        ).encode()
    if path.startswith(f"/api/models/{name}/tree/"):
        return json.dumps(
            [
                {
                    "type": "file",
                    "path": file,
                    "size": files[file].stat().st_size,
                    "oid": hashlib.sha1(file.encode(), usedforsecurity=False).hexdigest(),
                }
                for file in sorted(files)
            ]
        ).encode()
    return None
