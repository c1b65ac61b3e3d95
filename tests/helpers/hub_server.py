"""A real web server that speaks the Hugging Face Hub's protocol.

It knows what publishing and fetching a model use of that protocol.
Large files go by the LFS batch protocol, in one part or several.
What was uploaded stays although no commit names it.
Connections may be held, broken or refused in the middle of a file, and every byte is counted.
"""

import base64
import hashlib
import json
import re
import threading
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler
from urllib.parse import unquote

from helpers.local_server import LocalServer

TOKEN = "hf_made_up"
_PART = 100_000
"""Files with more bytes are uploaded in parts of so many."""


@dataclass
class Repository:
    """`commits` holds each commit's files, in order; `branches` and `tags` name commits."""

    private: bool
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    gated: bool = False

    def commit(self, branch: str, files: dict[str, bytes]) -> str:
        oid = hashlib.sha1(f"{len(self.commits)} {sorted(files)}".encode()).hexdigest()
        self.commits[oid] = files
        self.branches[branch] = oid
        return oid

    def head(self, branch: str = "main") -> dict[str, bytes]:
        return self.commits[self.branches[branch]]

    def resolve(self, revision: str) -> str | None:
        known = {commit: commit for commit in self.commits} | self.tags | self.branches
        return known.get(revision)


class HubServer(LocalServer):
    """A store of large files that may hold, refuse or break a transfer.

    `sent` lists what was uploaded: (path or digest, bytes).
    `fetched` lists what was downloaded: (path, range, bytes).

    Files are named by the digest of their content. An upload of `hold` stops half way for ever.
    Those of `refuse` are refused both ways. The connections of `broken` ones break once half way.
    `held` and `stored` are set when an upload is held, and when one is complete.
    """

    def __init__(self) -> None:
        super().__init__(partial(_Handler, hub=self))
        self.repositories: dict[str, Repository] = {}
        self.large: dict[str, bytes] = {}
        self.sent: list[tuple[str, int]] = []
        self.fetched: list[tuple[str, str | None, int]] = []
        self.hold: set[str] = set()
        self.refuse: set[str] = set()
        self.broken: set[str] = set()
        self.held = threading.Event()
        self.stored = threading.Event()
        self.parts: dict[str, dict[int, bytes]] = {}

    def add(self, name: str, files: dict[str, bytes], private: bool = False) -> Repository:
        """Make a repository with the first commit that the Hub makes, and one with files."""
        repository = self.repositories[name] = Repository(private)
        repository.commit("main", {".gitattributes": b"*.safetensors filter=lfs\n"})
        if files:
            repository.commit("main", repository.head() | files)
        return repository


class _Error(Exception):
    def __init__(self, status: int, code: str = "") -> None:
        self.status = status
        self.code = code


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def __init__(self, *words, hub, **settings):
        self.hub = hub
        super().__init__(*words, **settings)

    def do_GET(self):
        self._answer("GET")

    def do_HEAD(self):
        self._answer("HEAD")

    def do_POST(self):
        self._answer("POST")

    def do_PUT(self):
        self._answer("PUT")

    def _answer(self, method):
        path, _, _ = self.path.partition("?")
        try:
            for wanted, pattern, do in _ROUTES:
                if wanted == method and (found := re.fullmatch(pattern, path)):
                    return do(self, *map(unquote, found.groups()))
            raise _Error(404)
        except _Error as error:
            # What the client still sends would be taken for its next request.
            self._send(b"{}", error.status, {"X-Error-Code": error.code, "Connection": "close"})
        return None

    def _send(self, content, status=200, headers=None):
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def _json(self, value, status=200):
        self._send(json.dumps(value).encode(), status, {"Content-Type": "application/json"})

    def _body(self):
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def _knows_token(self):
        return self.headers.get("Authorization") == f"Bearer {TOKEN}"

    def _repository(self, name):
        """Return a repository; 401 for a private or missing one without a token, as the Hub."""
        repository = self.hub.repositories.get(name)
        if not self._knows_token() and (
            repository is None or repository.private or self.command in ("POST", "PUT")
        ):
            raise _Error(401, "" if repository and not repository.private else "RepoNotFound")
        if repository is None:
            raise _Error(404, "RepoNotFound")
        return repository

    def _commit_of(self, name, revision):
        repository = self._repository(name)
        commit = repository.resolve(revision)
        if commit is None:
            raise _Error(404, "RevisionNotFound")
        return repository, commit

    def create(self):
        if not self._knows_token():
            raise _Error(401)
        asked = json.loads(self._body())
        name = f"{asked['organization']}/{asked['name']}"
        if name in self.hub.repositories:
            raise _Error(409)
        self.hub.add(name, {}, private=asked["visibility"] == "private")
        self._json({"url": f"{self.hub.url}/{name}"})

    def validate_yaml(self):
        content = json.loads(self._body())["content"]
        if "license: none-such" in content:
            self._json({"errors": [{"message": "wrong"}]}, 400)
        else:
            self._json({})

    def info(self, name, revision="main"):
        repository, commit = self._commit_of(name, revision or "main")
        self._json({"id": name, "sha": commit, "private": repository.private, "siblings": []})

    def refs(self, name):
        repository = self._repository(name)
        branches, tags = _refs("heads", repository.branches), _refs("tags", repository.tags)
        self._json({"branches": branches, "tags": tags, "converts": []})

    def commits(self, name, revision):
        repository, _ = self._commit_of(name, revision)
        entry = {"authors": [], "date": "2026-01-01T00:00:00.000Z", "title": "a", "message": ""}
        self._json([{"id": commit, **entry} for commit in reversed(repository.commits)])

    def branch(self, name, branch):
        start = json.loads(self._body()).get("startingPoint", "main")
        repository, commit = self._commit_of(name, start)
        if branch in repository.branches:
            raise _Error(409)
        repository.branches[branch] = commit
        self._json({})

    def tag(self, name, revision):
        repository, commit = self._commit_of(name, revision)
        tag = json.loads(self._body())["tag"]
        if tag in repository.tags:
            raise _Error(409)
        repository.tags[tag] = commit
        self._json({})

    def tree(self, name, revision):
        repository, commit = self._commit_of(name, revision)
        entries = []
        for path, content in repository.commits[commit].items():
            entry = {"type": "file", "path": path, "size": len(content), "oid": _git_sha1(content)}
            if _is_large(path):
                entry["lfs"] = {"oid": _sha256(content), "size": len(content), "pointerSize": 130}
            entries.append(entry)
        self._json(entries)

    def preupload(self, name, revision):
        repository, commit = self._commit_of(name, revision)
        there = repository.commits[commit]
        files = []
        for asked in json.loads(self._body())["files"]:
            path, content = asked["path"], there.get(asked["path"])
            oid = None if content is None else _oid(path, content)
            mode = "lfs" if _is_large(path) else "regular"
            files.append({"path": path, "uploadMode": mode, "shouldIgnore": False, "oid": oid})
        self._json({"files": files})

    def batch(self, name):
        self._repository(name)
        objects = []
        for asked in json.loads(self._body())["objects"]:
            oid, size = asked["oid"], asked["size"]
            entry = {"oid": oid, "size": size}
            if oid not in self.hub.large:
                upload = {"href": f"{self.hub.url}/large/{oid}"}
                if size > _PART:
                    parts = range(1, -(-size // _PART) + 1)
                    upload["header"] = {str(n): f"{self.hub.url}/large/{oid}/{n}" for n in parts}
                    upload["header"]["chunk_size"] = str(_PART)
                entry["actions"] = {"upload": upload, "verify": {"href": f"{self.hub.url}/verify"}}
            objects.append(entry)
        self._json({"transfer": "basic", "objects": objects})

    def upload(self, oid, part=None):
        hub, size = self.hub, int(self.headers["Content-Length"])
        if oid in hub.refuse:
            raise _Error(400)

        # The first half arrives; then the connection may be held or broken.
        content = self.rfile.read(size // 2)
        if oid in hub.hold:
            hub.held.set()
            hub.closed.wait()
        if oid in hub.broken:
            hub.broken.remove(oid)
            return self._break()

        content += self.rfile.read(size - len(content))
        hub.sent.append((oid, len(content)))
        if part is None:
            hub.large[oid] = content
            hub.stored.set()
        else:
            hub.parts.setdefault(oid, {})[int(part)] = content
        return self._send(b"", headers={"ETag": f'"{_sha256(content)}"'})

    def complete(self, oid):
        asked = [part["partNumber"] for part in json.loads(self._body())["parts"]]
        self.hub.large[oid] = b"".join(self.hub.parts[oid][number] for number in asked)
        self._json({})

    def verify(self):
        asked = json.loads(self._body())
        content = self.hub.large[asked["oid"]]
        if (_sha256(content), len(content)) != (asked["oid"], asked["size"]):
            raise _Error(400)
        self._json({})

    def commit(self, name, branch):
        repository = self._repository(name)
        lines = [json.loads(line) for line in self._body().splitlines()]
        if lines[0]["value"].get("parentCommit") != repository.branches[branch]:
            raise _Error(412)

        files = dict(repository.head(branch))
        for line in lines[1:]:
            kind, value = line["key"], line["value"]
            if kind == "deletedFile":
                del files[value["path"]]
            elif kind == "lfsFile":
                files[value["path"]] = self.hub.large[value["oid"]]
            else:
                files[value["path"]] = base64.b64decode(value["content"])
                self.hub.sent.append((value["path"], len(files[value["path"]])))

        oid = repository.commit(branch, files)
        self._json({"commitUrl": f"{self.hub.url}/{name}/commit/{oid}", "commitOid": oid})

    def file(self, name, revision, path):
        repository, commit = self._commit_of(name, revision)
        if repository.gated:
            raise _Error(403, "GatedRepo")
        content = repository.commits[commit].get(path)
        if content is None:
            raise _Error(404, "EntryNotFound")
        if _sha256(content) in self.hub.refuse:
            raise _Error(403)

        # Send the file, or the rest of it.
        etag = _oid(path, content)
        headers = {"X-Repo-Commit": commit, "ETag": f'"{etag}"', "Accept-Ranges": "bytes"}
        asked = self.headers.get("Range")
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0
        rest = content[start:]
        if self.command == "HEAD":
            return self._send(rest, headers=headers)

        broken = _sha256(content) in self.hub.broken
        sending = rest[: len(rest) // 2] if broken else rest
        self.hub.fetched.append((path, asked, len(sending)))
        if asked:
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        self._send(sending, 206 if asked else 200, {**headers, "Content-Length": str(len(rest))})
        if broken:
            self.hub.broken.remove(_sha256(content))
            self._break()
        return None

    def _break(self):
        self.wfile.flush()
        self.close_connection = True

    def log_message(self, *words):
        pass


_NAME = r"([^/]+/[^/]+)"
_ROUTES = [
    ("POST", "/api/repos/create", _Handler.create),
    ("POST", "/api/validate-yaml", _Handler.validate_yaml),
    ("GET", f"/api/models/{_NAME}", _Handler.info),
    ("GET", f"/api/models/{_NAME}/revision/(.+)", _Handler.info),
    ("GET", f"/api/models/{_NAME}/refs", _Handler.refs),
    ("GET", f"/api/models/{_NAME}/commits/(.+)", _Handler.commits),
    ("POST", f"/api/models/{_NAME}/branch/(.+)", _Handler.branch),
    ("POST", f"/api/models/{_NAME}/tag/(.+)", _Handler.tag),
    ("GET", f"/api/models/{_NAME}/tree/(.+)", _Handler.tree),
    ("POST", f"/api/models/{_NAME}/preupload/(.+)", _Handler.preupload),
    ("POST", f"/{_NAME}.git/info/lfs/objects/batch", _Handler.batch),
    ("PUT", "/large/([0-9a-f]+)", _Handler.upload),
    ("PUT", "/large/([0-9a-f]+)/([0-9]+)", _Handler.upload),
    ("POST", "/large/([0-9a-f]+)", _Handler.complete),
    ("POST", "/verify", _Handler.verify),
    ("POST", f"/api/models/{_NAME}/commit/(.+)", _Handler.commit),
    ("GET", f"/{_NAME}/resolve/([^/]+)/(.+)", _Handler.file),
    ("HEAD", f"/{_NAME}/resolve/([^/]+)/(.+)", _Handler.file),
]


def _is_large(path):
    return path.endswith(".safetensors")


def _oid(path, content):
    return _sha256(content) if _is_large(path) else _git_sha1(content)


def _refs(kind, commits):
    return [
        {"name": name, "ref": f"refs/{kind}/{name}", "targetCommit": commit}
        for name, commit in commits.items()
    ]


def _sha256(content):
    return hashlib.sha256(content).hexdigest()


def _git_sha1(content):
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
