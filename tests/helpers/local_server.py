"""A web server of this machine, in a thread of its own."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self


class LocalServer:
    """A server on a free port; `closed` is set when it ends."""

    def __init__(self, handler: Callable[..., BaseHTTPRequestHandler]) -> None:
        self.closed = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.02}
        )

    @contextmanager
    def running(self) -> Iterator[Self]:
        """Answer inside the block."""
        self._thread.start()
        try:
            yield self
        finally:
            self.closed.set()
            self._server.shutdown()
            self._thread.join()
            self._server.server_close()
