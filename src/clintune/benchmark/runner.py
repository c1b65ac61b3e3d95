"""Run trials, each in a process of its own, so that its seconds and its memory are its own."""

import contextlib
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil

from clintune.benchmark.external.home import not_installed, peer_python
from clintune.benchmark.method_names import PEERS
from clintune.benchmark.trials import ABOUT, Trial
from clintune.core.console import console
from clintune.core.errors import ConfigError, TrainingError
from clintune.core.files import atomic_path, write_json
from clintune.core.locks import exclusive_lock, lock_of
from clintune.launch.signals import install_signal_handlers

_POLL_SECONDS = 0.2


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How the trials stand: the folders of the finished ones, and why others failed, by title."""

    finished: dict[Path, Trial]
    failed: dict[str, str]


def check_is_benchmark(out: Path) -> None:
    """Raise ConfigError for a folder that holds anything and no trials of a benchmark."""
    begun = (out / "trials").exists() or lock_of(out / "trials").exists()
    if not begun and any(out.iterdir()):
        raise ConfigError(f"out: {out} holds other files; name another folder")


def run_trials(trials: Sequence[Trial], chosen: Sequence[str] | None, out: Path) -> Progress:
    """Run the trials of the `chosen` methods that are not finished; a failure stops no other trial.

    Where the data of an experiment cannot be had, that is said once, and every trial that was
    wanted of it fails. A trial's folder below `out` appears whole or not at all, and one that is
    there is kept. Of several processes that run trials in one folder, the others wait. A peer that
    is not installed is left out with a line; ConfigError where it is one of the `chosen`.
    """
    # Find the peers that are not installed.
    install_signal_handlers()
    methods = dict.fromkeys(trial.method for trial in trials)
    absent = [method for method in methods if method in PEERS and peer_python(method) is None]
    for method in absent:
        if chosen and method in chosen:
            raise ConfigError(not_installed(method))
        if chosen is None:
            console.print(f"left out: {not_installed(method)}")

    progress = Progress(finished={}, failed={})

    with exclusive_lock(out / "trials", f"the trials in {out}"):
        for leftover in (out / "trials").glob("*/*/*/.*"):  # of a process that was killed
            shutil.rmtree(leftover)

        data: dict[str, str | TrainingError] = {}
        for number, trial in enumerate(trials, start=1):
            if trial.experiment not in data:
                data[trial.experiment] = _prepare(trial, out)
                if isinstance(data[trial.experiment], TrainingError):
                    console.print(f"{trial.experiment}: {data[trial.experiment]}")

            wanted = trial.method not in absent if chosen is None else trial.method in chosen
            said = _run_unless_done(trial, data[trial.experiment], wanted, progress, out)
            if said:
                console.print(f"[{number}/{len(trials)}] {trial.title}: {said}")

    return progress


def _run_unless_done(
    trial: Trial, data: str | TrainingError, wanted: bool, progress: Progress, out: Path
) -> str | None:
    """Take a trial into the progress, after running it if it is `wanted` and not finished.

    Return in words what became of it, None where it did not run.
    """
    if isinstance(data, TrainingError):
        if wanted:
            progress.failed[trial.title] = str(data)
        return None

    said = None
    try:
        folder = trial.folder(out, data)
        if wanted and not folder.exists():
            about = _run(trial, folder, data, out)
            seconds = f"{about['fit_seconds']:.1f} s + {about['predict_seconds']:.1f} s"
            said = f"{seconds}, {about['peak_mb']:,.0f} MB"
        if folder.exists():
            progress.finished[folder] = trial
    except TrainingError as error:
        said = progress.failed[trial.title] = str(error)
    return said


def _prepare(trial: Trial, out: Path) -> str | TrainingError:
    """Write or fetch the cohorts of an experiment and fill the caches.

    Return the fingerprint of the data. So no trial pays for what all of them share.
    """
    console.print(f"{trial.experiment}: cohorts and frozen encoders")
    log = out / "logs" / f"{trial.experiment}.log"
    try:
        answer, _ = _process({"config": asdict(trial.config)}, log)
    except TrainingError as error:
        return error
    return str(answer["data"])


def _run(trial: Trial, folder: Path, data: str, out: Path) -> dict[str, Any]:
    """Run a trial in a process of its own, and write its folder; return what it says of itself."""
    run = trial.run(out, data)
    name = ".".join(folder.relative_to(out / "trials").parts)
    log = out / "logs" / f"{name}.log"
    with atomic_path(folder) as partial:
        partial.mkdir()
        spec = {
            "config": asdict(trial.config),
            "method": trial.method,
            "missing": trial.missing,
            "peer_seconds": trial.peer_seconds,
            "folder": str(partial.resolve()),
            "run": str(run.resolve()),
        }

        answer, peak_mb = _process(spec, log)
        about = {
            "experiment": trial.experiment,
            "level": trial.level,
            "method": trial.method,
            "seed": trial.seed,
            **answer,
            "peak_mb": max(peak_mb, answer["peak_mb"]),
            "run": run.relative_to(out).as_posix() if run.exists() else None,
        }

        write_json(partial / ABOUT, about)
    return about


def _process(spec: Mapping[str, Any], log: Path) -> tuple[dict[str, Any], float]:
    """Run another process on `spec`; return its answer, and its peak memory in MB.

    The memory is that of its whole tree of processes. What it says to people goes to `log`. Raises
    TrainingError with its own words when it fails. It ends when this process does: its standard
    input closes.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    words = [sys.executable, "-m", "clintune.cli", "benchmark", "--trial"]
    with (
        log.open("w", encoding="utf-8") as said,
        tempfile.TemporaryFile("w+", encoding="utf-8") as answer,
    ):
        pipe = subprocess.PIPE
        with subprocess.Popen(words, stdin=pipe, stdout=answer, stderr=said, text=True) as process:
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
    """Wait for a process to end; return the peak memory of it and its children together, in MB."""
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
    lines = log.read_text(encoding="utf-8").splitlines()
    errors = [line for line in lines if line.startswith("clintune: ")]
    if errors:
        return errors[-1].removeprefix("clintune: ")
    what = f"killed by signal {-code}" if code < 0 else f"ended with code {code}"
    return f"{what}; see {log}"
