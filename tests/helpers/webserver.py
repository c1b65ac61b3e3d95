"""A real web server over a folder, that counts what is asked of it and may be told to fail."""

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote


class WebServer:
    """`gets` counts how often each path was sent; `status` maps paths to the error of their answer.

    `headers` are those of the last request, `pages` stand in for listings.
    Of a path in `stalled`, half is sent; then `half_sent` is set and the rest never comes.
    """

    def __init__(self, folder: Path) -> None:
        self.gets: Counter[str] = Counter()
        self.status: dict[str, int] = {}
        self.headers: dict[str, str] = {}
        self.stalled: set[str] = set()
        self.pages: dict[str, str] = {}
        self.half_sent = threading.Event()
        self.closed = threading.Event()
        self._server = ThreadingHTTPServer(
            ("127.0.0.1", 0), partial(_Handler, directory=str(folder), web=self)
        )
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.02}
        )

    @contextmanager
    def running(self) -> Iterator["WebServer"]:
        self._thread.start()
        try:
            yield self
        finally:
            self.closed.set()
            self._server.shutdown()
            self._thread.join()
            self._server.server_close()

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
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.send_header("Content-Length", str(len(page)))
            self.end_headers()
            self.wfile.write(page)
        elif path in self.web.stalled:
            content = Path(self.translate_path(self.path)).read_bytes()
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content[: len(content) // 2])
            self.wfile.flush()
            self.web.half_sent.set()
            self.web.closed.wait()
            self.close_connection = True
        else:
            super().do_GET()

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
