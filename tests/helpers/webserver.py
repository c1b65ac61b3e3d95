"""A real web server over a folder, that counts what is asked of it and may be told to fail."""

import threading
from collections import Counter
from functools import partial
from http.server import SimpleHTTPRequestHandler
from pathlib import Path
from urllib.parse import unquote

from helpers.local_server import LocalServer


class WebServer(LocalServer):
    """`gets` counts how often each path was sent; `status` maps paths to the error of their answer.

    `headers` are those of the last request, `pages` stand in for listings.
    Of a path in `stalled`, half is sent; then `half_sent` is set and the rest never comes.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(partial(_Handler, directory=str(folder), web=self))
        self.gets: Counter[str] = Counter()
        self.status: dict[str, int] = {}
        self.headers: dict[str, str] = {}
        self.stalled: set[str] = set()
        self.pages: dict[str, str] = {}
        self.half_sent = threading.Event()

    def files(self) -> Counter[str]:
        """Return how often each file was sent, without listings."""
        return Counter({path: count for path, count in self.gets.items() if "." in path})


class _Handler(SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def __init__(self, *words, web, **settings):
        self.web = web
        super().__init__(*words, **settings)

    def do_HEAD(self):
        if not self._fail():
            super().do_HEAD()

    def do_GET(self):
        path = unquote(self.path)
        if self._fail():
            return
        if path in self.web.pages:
            page = self.web.pages[path].encode()
            self._begin(page)
            self.wfile.write(page)
        elif path in self.web.stalled:
            content = Path(self.translate_path(self.path)).read_bytes()
            self._begin(content)
            self.wfile.write(content[: len(content) // 2])
            self.wfile.flush()

            # The rest never comes.
            self.web.half_sent.set()
            self.web.closed.wait()
            self.close_connection = True
        else:
            super().do_GET()

    def _begin(self, content):
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()

    def _fail(self):
        status = self.web.status.get(unquote(self.path))
        if status is not None:
            self.send_error(status)
        return status is not None

    def send_response(self, code, message=None):
        self.web.headers = dict(self.headers)
        if self.command == "GET" and code == 200:
            self.web.gets[unquote(self.path)] += 1
        super().send_response(code, message)

    def log_message(self, *words):
        pass
