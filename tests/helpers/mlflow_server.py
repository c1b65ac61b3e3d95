"""A real MLflow server on sqlite, with its artifacts in a folder."""

import os
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def mlflow_server(folder: Path) -> Iterator[tuple[str, Path]]:
    """Yield the address of a server that answers and its artifacts' folder, below `folder`."""
    artifacts = folder / "artifacts"
    artifacts.mkdir()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]

    # Start the server.
    words = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port)]
    words += ["--backend-store-uri", f"sqlite:///{folder}/store.db"]
    words += ["--artifacts-destination", str(artifacts)]
    environment = {
        **os.environ,
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_WORKERS": "1",
    }
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            words, stdout=log, stderr=log, env=environment, start_new_session=True
        )

    # Wait until it answers.
    url = f"http://127.0.0.1:{port}"
    try:
        while not _answers(f"{url}/health"):
            with suppress(subprocess.TimeoutExpired):
                process.wait(0.1)
                raise RuntimeError((folder / "log").read_text())
        yield url, artifacts
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        process.wait()


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as response:
            return response.status == 200
    except OSError:
        return False
