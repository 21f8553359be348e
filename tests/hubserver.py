"""A stand-in of two model hubs over plain HTTP: as much as their own clients ask for to fetch a repository.

Hugging Face: ``/api/{models,datasets}/<repo>/revision/<revision>`` and ``/<repo>/resolve/<commit>/<path>``.
ModelScope: ``/api/v1/models/<repo>/repo/files``, ``/api/v1/datasets/<repo>/repo/tree`` and
``/api/v1/{models,datasets}/<repo>/repo?FilePath=``. A private repository is there for its token alone;
to all others it does not exist.
"""

import hashlib
import json
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class Repo:
    """files: path -> bytes. token: empty = public."""

    files: dict[str, bytes]
    token: str = ""
    commit: str = COMMIT


@dataclass
class Hub:
    """repos: ("models" | "datasets", "org/name") -> what is there. pause_s: before each file."""

    repos: dict[tuple[str, str], Repo] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    pause_s: float = 0.0

    def __post_init__(self) -> None:
        self._server = _Server(self)
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def environ(self) -> dict[str, str]:
        """What leads the hubs' clients here."""
        return {
            "HF_ENDPOINT": self.url,
            "MODELSCOPE_ENDPOINT": self.url,
            "HF_HUB_ETAG_TIMEOUT": "60",
        }

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def fetched(self, path: str) -> int:
        """How often this file was sent."""
        return sum(one.endswith(path) and one.startswith("GET") for one in self.asked)


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, hub: Hub) -> None:
        super().__init__(("0.0.0.0", 0), _Handler)
        self.hub = hub


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def log_message(self, *_args: object) -> None:
        """Quiet."""

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        path = unquote(parts.path)
        self.server.hub.asked.append(f"{self.command} {query.get('FilePath', path)}")
        if path.startswith("/api/v1/"):
            self._modelscope(path.removeprefix("/api/v1/").split("/"), query)
        elif path.startswith("/api/"):
            self._huggingface(path.removeprefix("/api/").split("/"))
        else:
            self._resolve(path.strip("/").split("/"))

    # -- Hugging Face

    def _huggingface(self, parts: list[str]) -> None:
        kind, repo_id = parts[0], "/".join(parts[1:3])
        repo = self._repo(kind, repo_id)
        if repo is None:
            self._send(401, b'{"error": "no"}', {"X-Error-Code": "RepoNotFound"})
            return
        revision = parts[4] if len(parts) > 4 else "main"
        if revision not in {"main", repo.commit}:
            self._send(404, b'{"error": "no"}', {"X-Error-Code": "RevisionNotFound"})
            return
        siblings = [
            {"rfilename": name, "size": len(data), "blobId": hashlib.sha1(data).hexdigest()}
            for name, data in repo.files.items()
        ]
        facts = {
            "id": repo_id,
            "sha": repo.commit,
            "siblings": siblings,
            "private": bool(repo.token),
        }
        if len(parts) > 3 and parts[3] == "tree":
            tree = [
                {
                    "type": "file",
                    "path": one["rfilename"],
                    "size": one["size"],
                    "oid": one["blobId"],
                }
                for one in siblings
            ]
            self._json(tree)
            return
        self._json(facts)

    def _resolve(self, parts: list[str]) -> None:
        kind = "datasets" if parts[0] == "datasets" else "models"
        parts = parts[1:] if kind == "datasets" else parts
        repo = self._repo(kind, "/".join(parts[:2]))
        name = "/".join(parts[4:])
        if repo is None or name not in repo.files:
            code = "RepoNotFound" if repo is None else "EntryNotFound"
            self._send(401 if repo is None else 404, b"", {"X-Error-Code": code})
            return
        headers = {"X-Repo-Commit": repo.commit, "Accept-Ranges": "bytes"}
        self._file(repo.files[name], {**headers, "ETag": f'"{_etag(repo.files[name])}"'})

    # -- ModelScope

    def _modelscope(self, parts: list[str], query: dict[str, str]) -> None:
        kind, repo_id, rest = parts[0], "/".join(parts[1:3]), "/".join(parts[3:])
        repo = self._repo(kind, repo_id)
        if repo is None:
            body = {"Code": 10010205001, "Message": "not found", "Success": False}
            self._send(404, json.dumps(body).encode())
        elif rest in {"repo/files", "repo/tree"}:
            files = [
                {
                    "Path": name,
                    "Name": name.rpartition("/")[2],
                    "Type": "blob",
                    "Size": len(data),
                    "Sha256": hashlib.sha256(data).hexdigest(),
                }
                for name, data in repo.files.items()
                if query.get("Recursive", "True") == "True" or "/" not in name
            ]
            self._json({"Code": 200, "Success": True, "Data": {"Files": files}})
        elif rest == "repo" and query.get("FilePath") in repo.files:
            self._file(repo.files[query["FilePath"]], {"Accept-Ranges": "bytes"})
        elif not rest:
            self._json({"Code": 200, "Success": True, "Data": {"Name": repo_id, "Path": repo_id}})
        else:
            self._send(404, b'{"Code": 404, "Success": false, "Message": "no"}')

    # -- both

    def _repo(self, kind: str, repo_id: str) -> Repo | None:
        repo = self.server.hub.repos.get((kind, repo_id))
        given = self.headers.get("Authorization", "").removeprefix("Bearer ")
        return repo if repo is not None and repo.token in {"", given} else None

    def _file(self, data: bytes, headers: dict[str, str]) -> None:
        if self.command == "GET":
            time.sleep(self.server.hub.pause_s)
        asked = self.headers.get("Range", "")
        if not asked.startswith("bytes="):
            self._send(200, data, headers)
            return
        first, _dash, last = asked.removeprefix("bytes=").partition("-")
        begin, end = int(first), int(last) + 1 if last else len(data)
        span = f"bytes {begin}-{min(end, len(data)) - 1}/{len(data)}"
        self._send(206, data[begin:end], {**headers, "Content-Range": span})

    def _json(self, plain: object) -> None:
        self._send(200, json.dumps(plain).encode(), {"Content-Type": "application/json"})

    def _send(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


def _etag(data: bytes) -> str:
    return hashlib.sha1(data).hexdigest()
