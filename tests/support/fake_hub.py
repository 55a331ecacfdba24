"""A server on this machine that answers as the Hugging Face Hub does."""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import unquote, urlsplit


class FakeHub(ThreadingHTTPServer):
    """Serves the repositories in `files`: id, then revision, then name of a file."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files: dict[str, dict[str, dict[str, bytes]]] = {}
        self.refusals: dict[str, tuple[int, str]] = {}  # id: status and X-Error-Code
        self.requests: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def add(self, repository: str, folder: Path, revision: str = "main", **more: bytes) -> None:
        """Publishes the files of a folder."""
        files = {path.name: path.read_bytes() for path in folder.iterdir()}
        self.files.setdefault(repository, {})[revision] = files | more


@contextmanager
def serving() -> Iterator[FakeHub]:
    """A hub that runs while the block does."""
    hub = FakeHub()
    thread = Thread(target=hub.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield hub
    finally:
        hub.shutdown()
        thread.join()
        hub.server_close()


def _commit(repository: str, revision: str) -> str:
    return hashlib.sha1(f"{repository}@{revision}".encode()).hexdigest()


class _Handler(BaseHTTPRequestHandler):
    server: FakeHub

    def do_GET(self) -> None:
        self._answer()

    def do_HEAD(self) -> None:
        self._answer()

    def log_message(self, *_) -> None:
        pass

    def _answer(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.server.requests.append(path)
        for repository, (status, code) in self.server.refusals.items():
            if repository in path:
                return self._send(b"", status, {"X-Error-Code": code})
        for repository, revisions in self.server.files.items():
            if repository in path:
                return self._answer_about(path, repository, revisions)
        return self._send(b"", 401, {"X-Error-Code": "RepoNotFound"})

    def _answer_about(
        self, path: str, repository: str, revisions: dict[str, dict[str, bytes]]
    ) -> None:
        for revision, files in revisions.items():
            commit = _commit(repository, revision)
            if path in (
                f"/api/models/{repository}/revision/{revision}",
                *([f"/api/models/{repository}"] if revision == "main" else []),
            ):
                siblings = [{"rfilename": name} for name in files]
                body = {"id": repository, "sha": commit, "siblings": siblings}
                return self._send_json(body)
            if path == f"/api/models/{repository}/tree/{commit}":
                return self._send_json(
                    [
                        {"type": "file", "path": name, "size": len(data), "oid": _oid(data)}
                        for name, data in files.items()
                    ]
                )
            for name, data in files.items():
                if path == f"/{repository}/resolve/{commit}/{name}":
                    headers = {"ETag": f'"{_oid(data)}"', "X-Repo-Commit": commit}
                    return self._send(data, 200, headers)
        return self._send(b"", 404, {"X-Error-Code": "RevisionNotFound"})

    def _send_json(self, body) -> None:
        self._send(json.dumps(body).encode(), 200, {"Content-Type": "application/json"})

    def _send(self, data: bytes, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(data)


def _oid(data: bytes) -> str:
    return hashlib.sha1(data).hexdigest()
