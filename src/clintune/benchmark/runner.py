"""Run cells, each in a process of its own, so that its seconds and its memory are its own."""

import contextlib
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from omegaconf import OmegaConf

from clintune.benchmark.external.home import not_installed, peer_python
from clintune.benchmark.method_names import PEERS
from clintune.benchmark.trials import ABOUT, Cell
from clintune.core.console import console
from clintune.core.errors import ConfigError, TrainingError
from clintune.core.files import atomic_path, write_json
from clintune.core.locks import lock_of, only_one
from clintune.launch.signals import listen

_POLL_SECONDS = 0.2


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How the cells stand: the folders of the finished ones, and why each other one is not."""

    finished: dict[Path, Cell]
    failed: dict[str, str]


def check_is_benchmark(out: Path) -> None:
    """Raise ConfigError for a folder that holds anything and no cells of a benchmark."""
    begun = (out / "cells").exists() or lock_of(out / "cells").exists()
    if not begun and any(out.iterdir()):
        raise ConfigError(f"out: {out} holds other files; name another folder")


def run_cells(cells: Sequence[Cell], chosen: Sequence[str] | None, out: Path) -> Progress:
    """Run what is not finished of the cells, those of the `chosen` methods; a failure stops no other cell.

    Where the data of an experiment cannot be had, that is said once, and every cell that was wanted of it fails.
    A cell's folder below `out` appears whole or not at all, and one that is there is kept. Of several processes that
    run cells in one folder the others wait. A peer that is not installed is left out with a line; ConfigError where it
    is one of the `chosen`.
    """
    listen()
    methods = dict.fromkeys(cell.method for cell in cells)
    absent = [method for method in methods if method in PEERS and peer_python(method) is None]
    for method in absent:
        if chosen and method in chosen:
            raise ConfigError(not_installed(method))
        if chosen is None:
            console.print(f"left out: {not_installed(method)}")

    progress = Progress(finished={}, failed={})

    with only_one(out / "cells", f"the cells in {out}"):
        for leftover in (out / "cells").glob("*/*/*/.*"):  # of a process that was killed
            shutil.rmtree(leftover)
        data: dict[str, str | TrainingError] = {}
        for number, cell in enumerate(cells, start=1):
            if cell.experiment not in data:
                data[cell.experiment] = _prepare(cell, out)
                if isinstance(data[cell.experiment], TrainingError):
                    console.print(f"{cell.experiment}: {data[cell.experiment]}")
            wanted = cell.method not in absent if chosen is None else cell.method in chosen
            said = _run_unless_done(cell, data[cell.experiment], wanted, progress, out)
            if said:
                console.print(f"[{number}/{len(cells)}] {cell.title}: {said}")

    return progress


def _run_unless_done(
    cell: Cell, data: str | TrainingError, wanted: bool, progress: Progress, out: Path
) -> str | None:
    """Take a cell into the progress, run first if it is `wanted` and not finished; return what became of it, if so."""
    if isinstance(data, TrainingError):
        if wanted:
            progress.failed[cell.title] = str(data)
        return None

    said = None
    try:
        folder = cell.folder(out, data)
        if wanted and not folder.exists():
            about = _run(cell, folder, data, out)
            said = f"{about['fit_seconds']:.1f} s + {about['predict_seconds']:.1f} s, {about['peak_mb']:,.0f} MB"
        if folder.exists():
            progress.finished[folder] = cell
    except TrainingError as error:
        said = progress.failed[cell.title] = str(error)
    return said


def _prepare(cell: Cell, out: Path) -> str | TrainingError:
    """Write or fetch the cohorts of an experiment and fill the caches; return the fingerprint of the data.

    So no cell pays for what all of them share.
    """
    console.print(f"{cell.experiment}: cohorts and frozen encoders")
    try:
        answer, _ = _process({"config": _plain(cell)}, out / "logs" / f"{cell.experiment}.log")
    except TrainingError as error:
        return error
    return str(answer["data"])


def _run(cell: Cell, folder: Path, data: str, out: Path) -> dict[str, Any]:
    run, log = (
        cell.run(out, data),
        out / "logs" / f"{'.'.join(folder.relative_to(out / 'cells').parts)}.log",
    )
    with atomic_path(folder) as partial:
        partial.mkdir()
        spec = {
            "config": _plain(cell),
            "method": cell.method,
            "missing": cell.missing,
            "peer_seconds": cell.peer_seconds,
            "folder": str(partial.resolve()),
            "run": str(run.resolve()),
        }

        answer, peak_mb = _process(spec, log)
        about = {
            "experiment": cell.experiment,
            "level": cell.level,
            "method": cell.method,
            "seed": cell.seed,
            **answer,
            "peak_mb": max(peak_mb, answer["peak_mb"]),
            "run": run.relative_to(out).as_posix() if run.exists() else None,
        }

        write_json(partial / ABOUT, about)
    return about


def _process(spec: Mapping[str, Any], log: Path) -> tuple[dict[str, Any], float]:
    """Let another process work on `spec`; return its answer and the most memory its tree of processes held, in MB.

    What it says to people goes to `log`. Raises TrainingError with its own words when it fails. It ends when this
    process does: its standard input closes.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    words = [sys.executable, "-m", "clintune.cli", "benchmark", "--cell"]
    with (
        log.open("w", encoding="utf-8") as said,
        tempfile.TemporaryFile("w+", encoding="utf-8") as answer,
    ):
        with subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=answer, stderr=said, text=True
        ) as process:
            try:
                assert process.stdin is not None
                process.stdin.write(json.dumps(spec) + "\n")
                process.stdin.flush()
                peak_mb = _watch(process)
            except BaseException:
                process.terminate()
                process.wait()  # a run saves where it is
                raise

        if process.returncode:
            raise TrainingError(_reason(log, process.returncode))
        answer.seek(0)
        return json.loads(answer.read().splitlines()[-1]), peak_mb


def _watch(process: "subprocess.Popen[str]") -> float:
    """Wait for a process to end; return the most memory that it and its children held together, in MB."""
    peak = 0
    tree = psutil.Process(process.pid)
    while process.poll() is None:
        with contextlib.suppress(psutil.NoSuchProcess):
            members = [tree, *tree.children(recursive=True)]
            peak = max(peak, sum(member.memory_info().rss for member in members))
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_POLL_SECONDS)
    return peak / 1e6


def _reason(log: Path, code: int) -> str:
    """Return in one line why a process failed."""
    lines = [
        line
        for line in log.read_text(encoding="utf-8").splitlines()
        if line.startswith("clintune: ")
    ]
    if lines:
        return lines[-1].removeprefix("clintune: ")
    return (
        f"killed by signal {-code}; see {log}" if code < 0 else f"ended with code {code}; see {log}"
    )


def _plain(cell: Cell) -> Any:
    return OmegaConf.to_container(cell.config, resolve=True)
