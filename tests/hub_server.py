"""A small server that speaks the Hub's protocol on this machine, for the true client of huggingface_hub.

    with HubServer() as server:
        connect(monkeypatch, server)   # this process; `environment(server, ...)` is for another one
        server.inject(Fault("POST", "/commit/", status=503, times=2))

Repositories live in memory. Served is what uploading, downloading and loading a model ask for; files of safetensors go
the way of large files (LFS).
"""

import base64
import hashlib
import json
import re
import socket
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

WRITE, READ = "hf_" + "W" * 34, "hf_" + "R" * 34  # made up


@dataclass
class Account:
    name: str
    role: str = "write"
    orgs: tuple[str, ...] = ()


@dataclass
class Commit:
    id: str
    title: str
    files: dict[str, bytes]


@dataclass
class Repo:
    private: bool = False
    branches: dict[str, list[Commit]] = field(default_factory=dict)

    def find(self, revision: str) -> Commit | None:
        """The head of a branch, or a commit by its id."""
        if revision in self.branches:
            return self.branches[revision][-1]
        return next((c for branch in self.branches.values() for c in branch if c.id == revision), None)

    def commit(self, branch: str, title: str, files: dict[str, bytes]) -> Commit:
        number = sum(map(len, self.branches.values()))
        new = Commit(hashlib.sha1(f"{number} {title} {sorted(files)}".encode()).hexdigest(), title, files)
        self.branches.setdefault(branch, []).append(new)
        return new


@dataclass
class Fault:
    """What goes wrong with requests of `method` whose path has the regular expression `path`.

    Attributes:
        status: of the answer, unless `kind` is "cut" (no answer), "garbage" (a page that is no JSON), or "slow" (the
            right answer).
        times: how often; None: always.
        after: so many requests go well before.
        seconds: the answer waits.
    """

    method: str = "GET"
    path: str = ""
    status: int = 503
    kind: str = "status"
    times: int | None = 1
    after: int = 0
    seconds: float = 0.0


class HubServer:
    """Attributes: url, repos, tokens (accounts by token), faults."""

    def __init__(self):
        self.repos: dict[str, Repo] = {}
        self.large: dict[str, bytes] = {}
        self.tokens = {WRITE: Account("me", orgs=("team",)), READ: Account("me", role="read")}
        self.faults: list[Fault] = []
        self.lock = threading.RLock()
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        self._http.daemon_threads = True
        self._http.hub = self  # type: ignore[attr-defined]
        self.url = f"http://127.0.0.1:{self._http.server_port}"

    def __enter__(self) -> "HubServer":
        threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: Any) -> None:
        self._http.shutdown()
        self._http.server_close()

    def add_repo(self, name: str, files: dict[str, bytes], private: bool = False) -> None:
        self.repos[name] = Repo(private)
        self.repos[name].commit("main", "initial commit", dict(files))

    def files(self, name: str, revision: str = "main") -> dict[str, bytes]:
        found = self.repos[name].find(revision)
        return dict(found.files) if found else {}

    def commits(self, name: str, branch: str = "main") -> list[Commit]:
        return list(self.repos[name].branches[branch])

    def inject(self, fault: Fault) -> None:
        self.faults.append(fault)

    def fault_of(self, method: str, path: str) -> Fault | None:
        with self.lock:
            for fault in self.faults:
                if fault.method != method or not re.search(fault.path, path) or fault.times == 0:
                    continue
                if fault.after:
                    fault.after -= 1
                    continue
                if fault.times is not None:
                    fault.times -= 1
                return fault
        return None


class _Answer(Exception):
    """An answer that is no success."""

    def __init__(self, status: int, message: str = "", code: str = "", more: dict[str, str] | None = None):
        self.status, self.message, self.code, self.more = status, message, code, more or {}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else each answer waits for an acknowledgement

    def log_message(self, *_: Any) -> None:
        pass

    def do_any(self) -> None:
        hub: HubServer = self.server.hub  # type: ignore[attr-defined]
        self.hub = hub
        parts = urlsplit(self.path)
        path, self.query = unquote(parts.path), parse_qs(parts.query)
        body = self._body()
        token = (self.headers.get("Authorization") or "").removeprefix("Bearer ") or None
        self.account = hub.tokens.get(token) if token else None
        fault = hub.fault_of(self.command, path)
        if fault is not None:
            time.sleep(fault.seconds)
            if fault.kind == "cut":
                self.connection.shutdown(socket.SHUT_RDWR)
                self.close_connection = True
                return
            if fault.kind == "garbage":
                self._send(200, b"<html>Welcome to the network of this cafe</html>", {"Content-Type": "text/html"})
                return
            if fault.kind == "status":
                self._send(fault.status, b'{"error": "as injected"}', {"X-Error-Message": "as injected"})
                return
        try:
            if token and self.account is None:
                raise _Answer(401, "Invalid credentials in Authorization header")
            with hub.lock:
                for method, pattern, name in ROUTES:
                    found = re.fullmatch(pattern, path)
                    if method == self.command and found:
                        value, headers = getattr(self, name)(body, *found.groups())
                        break
                else:
                    raise _Answer(404, f"no such route: {self.command} {path}")
        except _Answer as answer:
            headers = {"X-Error-Code": answer.code, "X-Error-Message": answer.message}
            self._send(answer.status, json.dumps({"error": answer.message} | answer.more).encode(), headers)
            return
        self._send(200, value if isinstance(value, bytes) else json.dumps(value).encode(), headers)

    do_GET = do_HEAD = do_POST = do_PUT = do_any

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") == "chunked":
            parts = []
            while size := int(self.rfile.readline(), 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            if value:
                self.send_header(name, value)
        if "Content-Length" not in headers:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    # What the routes share.

    def _repo(self, name: str, write: bool = False) -> Repo:
        repo = self.hub.repos.get(name)
        mine = self.account is not None and name.split("/")[0] in (self.account.name, *self.account.orgs)
        if repo is None or (repo.private and not mine):
            raise _Answer(404 if self.account else 401, "Repository not found", "RepoNotFound")
        if write and (not mine or self.account.role == "read"):
            raise _Answer(403, "You don't have the rights to write here")
        return repo

    def _found(self, name: str, revision: str | None) -> Commit:
        found = self._repo(name).find(revision or "main")
        if found is None:
            raise _Answer(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        return found

    # Routes.

    def whoami(self, body: bytes) -> tuple:
        if self.account is None:
            raise _Answer(401, "Invalid username or password.")
        orgs = [{"name": name} for name in self.account.orgs]
        token = {"displayName": "test", "role": self.account.role}
        return {"type": "user", "name": self.account.name, "orgs": orgs, "auth": {"accessToken": token}}, {}

    def create(self, body: bytes) -> tuple:
        asked = json.loads(body)
        if self.account is None:
            raise _Answer(401, "Invalid username or password.")
        name = f"{asked.get('organization') or self.account.name}/{asked['name']}"
        if self.account.role == "read" or name.split("/")[0] not in (self.account.name, *self.account.orgs):
            raise _Answer(403, "You don't have the rights to create a model under this namespace")
        if name in self.hub.repos:
            raise _Answer(409, "You already created this model repo", more={"url": f"{self.hub.url}/{name}"})
        self.hub.add_repo(name, {".gitattributes": b"*.safetensors filter=lfs\n"}, asked.get("visibility") == "private")
        return {"url": f"{self.hub.url}/{name}", "name": name}, {}

    def auth_check(self, body: bytes, name: str, write: str | None) -> tuple:
        self._repo(name, write=bool(write))
        return {}, {}

    def branch(self, body: bytes, name: str, branch: str) -> tuple:
        repo = self._repo(name, write=True)
        if branch in repo.branches:
            raise _Answer(409, f"Reference already exists: {branch}")
        repo.branches[branch] = [repo.branches["main"][0]]
        return {}, {}

    def preupload(self, body: bytes, name: str, revision: str) -> tuple:
        self._repo(name, write=True)
        there = self._found(name, revision).files
        files = []
        for file in json.loads(body)["files"]:
            path = file["path"]
            large = path.endswith(".safetensors")
            oid = _oid(path, there[path]) if path in there else None
            files.append({"path": path, "uploadMode": "lfs" if large else "regular", "shouldIgnore": False, "oid": oid})
        return {"files": files}, {}

    def lfs_batch(self, body: bytes, name: str) -> tuple:
        self._repo(name, write=True)
        objects = []
        for asked in json.loads(body)["objects"]:
            oid = asked["oid"]
            actions = {"upload": {"href": f"{self.hub.url}/lfs/{oid}"}, "verify": {"href": f"{self.hub.url}/verify"}}
            objects.append(asked if oid in self.hub.large else asked | {"actions": actions})
        return {"transfer": "basic", "objects": objects}, {}

    def lfs_put(self, body: bytes, oid: str) -> tuple:
        if hashlib.sha256(body).hexdigest() != oid:
            raise _Answer(400, "the content has another sha256")
        self.hub.large[oid] = body
        return {}, {}

    def verify(self, body: bytes) -> tuple:
        asked = json.loads(body)
        if len(self.hub.large.get(asked["oid"], b"")) != asked["size"]:
            raise _Answer(400, "not uploaded")
        return {}, {}

    def commit(self, body: bytes, name: str, revision: str) -> tuple:
        repo = self._repo(name, write=True)
        files = dict(self._found(name, revision).files)
        title = ""
        for line in body.decode().splitlines():
            entry = json.loads(line)
            kind, value = entry["key"], entry["value"]
            if kind == "header":
                title = value["summary"]
            elif kind == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif kind == "lfsFile":
                if value["oid"] not in self.hub.large:
                    raise _Answer(400, f"LFS object {value['oid']} is not there")
                files[value["path"]] = self.hub.large[value["oid"]]
            elif kind == "deletedFile":
                if value["path"] not in files:
                    raise _Answer(404, f"no file {value['path']}", "EntryNotFound")
                del files[value["path"]]
        new = repo.commit(revision, title, files)
        return {"success": True, "commitOid": new.id, "commitUrl": f"{self.hub.url}/{name}/commit/{new.id}"}, {}

    def validate_yaml(self, body: bytes) -> tuple:
        return {"errors": [], "warnings": []}, {}

    def info(self, body: bytes, name: str, revision: str | None) -> tuple:
        found, repo = self._found(name, revision), self._repo(name)
        siblings = [{"rfilename": path} for path in sorted(found.files)]
        return {
            "_id": "0",
            "id": name,
            "modelId": name,
            "sha": found.id,
            "private": repo.private,
            "tags": [],
            "downloads": 0,
            "likes": 0,
            "siblings": siblings,
        }, {}

    def tree(self, body: bytes, name: str, revision: str, folder: str | None) -> tuple:
        files = self._found(name, revision).files
        inside = {path: content for path, content in files.items() if not folder or path.startswith(f"{folder}/")}
        if folder and not inside:
            raise _Answer(404, f"{folder} does not exist on {revision}", "EntryNotFound")
        return [_entry(path, content) for path, content in sorted(inside.items())], {}

    def paths_info(self, body: bytes, name: str, revision: str) -> tuple:
        files, asked = self._found(name, revision).files, json.loads(body)
        return [_entry(path, files[path]) for path in asked["paths"] if path in files], {}

    def refs(self, body: bytes, name: str) -> tuple:
        repo = self._repo(name)
        branches = [
            {"name": branch, "ref": f"refs/heads/{branch}", "targetCommit": repo.find(branch).id}
            for branch in repo.branches
        ]
        return {"branches": branches, "tags": [], "converts": []}, {}

    def resolve(self, body: bytes, name: str, revision: str, path: str) -> tuple:
        found = self._found(name, revision)
        head = {"X-Repo-Commit": found.id}
        if path not in found.files:
            raise _Answer(404, f"Entry not found: {path}", "EntryNotFound")
        content = found.files[path]
        head |= {"ETag": f'"{_oid(path, content)}"', "Content-Type": "application/octet-stream"}
        return content, head


REPO = r"([\w.-]+/[\w.-]+)"
ROUTES = [
    ("GET", r"/api/whoami-v2", "whoami"),
    ("POST", r"/api/repos/create", "create"),
    ("POST", r"/api/validate-yaml", "validate_yaml"),
    ("GET", rf"/api/models/{REPO}/auth-check(/write)?", "auth_check"),
    ("POST", rf"/api/models/{REPO}/branch/(.+)", "branch"),
    ("POST", rf"/api/models/{REPO}/preupload/(.+)", "preupload"),
    ("POST", rf"/api/models/{REPO}/commit/(.+)", "commit"),
    ("POST", rf"/api/models/{REPO}/paths-info/(.+)", "paths_info"),
    ("GET", rf"/api/models/{REPO}/refs", "refs"),
    ("GET", rf"/api/models/{REPO}/tree/([^/]+)(?:/(.+))?", "tree"),
    ("GET", rf"/api/models/{REPO}(?:/revision/(.+))?", "info"),
    ("POST", rf"/{REPO}\.git/info/lfs/objects/batch", "lfs_batch"),
    ("PUT", r"/lfs/([0-9a-f]{64})", "lfs_put"),
    ("POST", r"/verify", "verify"),
    ("HEAD", rf"/{REPO}/resolve/([^/]+)/(.+)", "resolve"),
    ("GET", rf"/{REPO}/resolve/([^/]+)/(.+)", "resolve"),
]


def _oid(path: str, content: bytes) -> str:
    """As git's for plain files, the sha256 of large ones."""
    if path.endswith(".safetensors"):
        return hashlib.sha256(content).hexdigest()
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def _entry(path: str, content: bytes) -> dict[str, Any]:
    entry: dict[str, Any] = {"type": "file", "path": path, "size": len(content), "oid": _oid(path, content)}
    if path.endswith(".safetensors"):
        entry["lfs"] = {"oid": _oid(path, content), "size": len(content), "pointerSize": 130}
    return entry


def environment(server: HubServer, *, token: str | None, cache: Any) -> dict[str, str]:
    """The variables with which another process talks to `server`."""
    variables = {
        "HF_ENDPOINT": server.url,
        "HF_HOME": str(cache),
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_OFFLINE": "0",
        "HF_HUB_DISABLE_TELEMETRY": "1",
    }
    return variables | ({"HF_TOKEN": token} if token else {})


def connect(monkeypatch: Any, server: HubServer, *, token: str | None = WRITE) -> None:
    """Have this process talk to `server`, though it was started to stay offline; caches lie in the current folder."""
    from pathlib import Path

    from huggingface_hub import close_session, constants

    cache = Path.cwd() / "hf_home"
    for name, value in {
        "ENDPOINT": server.url,
        "HUGGINGFACE_CO_URL_TEMPLATE": server.url + "/{repo_id}/resolve/{revision}/{filename}",
        "HF_HUB_OFFLINE": False,
        "HF_HUB_DISABLE_XET": True,
        "HF_HOME": str(cache),
        "HF_HUB_CACHE": str(cache / "hub"),
        "HUGGINGFACE_HUB_CACHE": str(cache / "hub"),
        "HF_TOKEN_PATH": str(cache / "token"),
    }.items():
        monkeypatch.setattr(constants, name, value)
    monkeypatch.setattr("huggingface_hub.hf_api.api.endpoint", server.url)
    monkeypatch.setattr("transformers.utils.hub._hf_api", None)  # one client for all, with the address it was made with
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(cache / "modules"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    monkeypatch.delenv("HF_TOKEN", raising=False)
    if token:
        monkeypatch.setenv("HF_TOKEN", token)
    close_session()
