"""The figures for people: what machine, a table of the runs, the ratios."""

import importlib.metadata
import os
import platform
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

COLUMNS = {
    "s": ("seconds", ".1f"),
    "to step 1": ("seconds_to_first_step", ".1f"),
    "samples": ("samples", ".0f"),
    "samples/s": ("samples_per_second", ".1f"),
    "tokens/s": ("tokens_per_second", ".0f"),
    "steady": ("steady_samples_per_second", ".1f"),
    "padding": ("padding_share", ".1%"),
    "MB": ("memory_mb", ".0f"),
    "MB of all": ("tree_memory_mb", ".0f"),
    "GPU MB": ("gpu_memory_mb", ".0f"),
    "MFU": ("mfu", ".1%"),
    "trained": ("trainable_parameters", ",.0f"),
}
NOTES = """\
s: from the start of the work (imports left out) until the weights are written; samples/s and
tokens/s are over it. to step 1: seconds until the first optimizer step. steady: samples/s between
the time stamps of step 20 (of the middle one of fewer than 40) and the last; start-up, cache
building and, in scenario floor, checkpoints are left out. No run has a tuning split. Tokens are
real ones, queries included; padding: share of the positions that the backbone's linear layers
computed and no token had. MB: peak of the process; of all: with the workers, looked at every 2 s.
MFU: scripts/speed/measure.py."""


@dataclass(frozen=True)
class Ratio:
    """How much faster clintune is than what it is compared with.

    Steady speeds count in scenario floor, else whole runs.
    """

    scenario: str
    against: str
    figure: str
    ratio: float

    @classmethod
    def of(cls, row: dict[str, Any], rows: list[dict[str, Any]]) -> "Ratio | None":
        """Return the ratio of a clintune run to the other run of its scenario, None for others."""
        if not row["variant"].startswith("clintune"):
            return None
        other = next(
            other for other in rows if other["scenario"] == row["scenario"] and other is not row
        )
        figure = "steady_samples_per_second" if row["scenario"] == "floor" else "samples_per_second"
        return cls(row["scenario"], other["variant"], figure, row[figure] / other[figure])


def machine(precision: str | None) -> dict[str, Any]:
    """Return the facts of this machine, with the precision to use.

    It is bf16 where the hardware computes in it.
    """
    from clintune.layers.precision import has_bf16  # imports torch, which `--help` need not

    info = (
        Path("/proc/cpuinfo").read_text(encoding="utf-8") if Path("/proc/cpuinfo").exists() else ""
    )
    model = re.search(r"model name\s*: (.*)", info)
    gpu = _ask("nvidia-smi", "--query-gpu=name", "--format=csv,noheader").partition("\n")[0] or None
    return {
        "cpu": model.group(1) if model else platform.processor(),
        "cores": len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count(),
        "threads": os.environ.get("OMP_NUM_THREADS"),
        "gpu": gpu,
        "precision": precision or ("bf16" if has_bf16() else "fp32"),
        "torch": importlib.metadata.version("torch"),
        "transformers": importlib.metadata.version("transformers"),
        "python": platform.python_version(),
        "commit": _ask("git", "describe", "--always", "--dirty", "--abbrev=12").strip() or None,
    }


def print_report(facts: dict[str, Any], rows: list[dict[str, Any]], ratios: list[Ratio]) -> None:
    """Print machine, runs and ratios."""
    console = print_runs(facts, ("scenario", "variant"), COLUMNS, rows)
    for ratio in ratios:
        console.print(
            f"{ratio.scenario}: clintune / {ratio.against} = {ratio.ratio:.2f} ({ratio.figure})"
        )
    console.print(NOTES, style="dim")


def print_runs(
    facts: dict[str, Any],
    named_by: tuple[str, str],
    columns: dict[str, tuple[str, str]],
    rows: list[dict[str, Any]],
) -> Console:
    """Print machine and runs, without columns that are empty; return the console."""
    console = Console(highlight=False)
    console.width = max(console.width, 140)
    console.print(", ".join(f"{key} {value}" for key, value in facts.items() if value is not None))

    shown = {
        title: column for title, column in columns.items() if any(row[column[0]] for row in rows)
    }
    table = Table(*named_by, *shown)
    for row in rows:
        names = [row[name] for name in named_by]
        pairs = [(row[key], form) for key, form in shown.values()]
        table.add_row(*names, *("-" if v is None else format(v, form) for v, form in pairs))
    console.print(table)
    return console


def _ask(*words: str) -> str:
    """Return what a command prints, nothing where it cannot run."""
    try:
        return subprocess.run(
            words, capture_output=True, text=True, cwd=Path(__file__).parent, check=True
        ).stdout
    except (OSError, subprocess.CalledProcessError):
        return ""
