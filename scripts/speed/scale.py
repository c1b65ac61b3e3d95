"""Measures what more processes bring: training with 1, 2, 4, 8 of them.

Strong scaling shares out one batch among the processes; weak scaling gives each a whole one.
Everything is clintune's own training of notes and images, with a warm cache; one process alone,
without a strategy, is what the others are compared with. Then it measures how the data side grows
with a cohort.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import psutil
import torch
from main import HERE, Bench, median, refuse_without_gpu
from measure import WARM_UP
from process import PROFILED
from settings import BACKBONES, Settings

from report import machine, print_runs

COLUMNS = {
    "processes": ("processes", "d"),
    "batch": ("batch_size", "d"),
    "samples/s": ("samples_per_second", ".1f"),
    "step s": ("step_seconds", ".3f"),
    "speed-up": ("speed_up", ".2f"),
    "efficiency": ("efficiency", ".0%"),
    "in collectives": ("communication_share", ".1%"),
    "exposed": ("exposed_share", ".1%"),
    "MB each": ("memory_mb", ".0f"),
    "GPU MB each": ("gpu_memory_mb", ".0f"),
    "busy before": ("busy_before", ".0%"),
}
NOTES = f"""\
Every process computes with as many threads, the cores by the most processes: one process alone
borrows none of the others' cores, so speed-up compares processes and not threads. samples/s: of all
processes, between the time stamps of optimizer step {WARM_UP} and the last before the profiled
ones. step s: its median. efficiency: speed-up by processes; strong scaling keeps the batch, weak
scaling grows it with the processes. in collectives: share of the time of {PROFILED} further steps
in which one was under way, waiting for the slowest process included; exposed: while nothing was
computed (scripts/speed/process.py). MB each: peak of the largest process. busy before: share of all
cores that others used in the second before a run; where that is much, several processes are
measured too slow."""


def main() -> None:
    """Measure what the arguments ask for."""
    arguments = parse()
    facts = machine(arguments.precision)
    refuse_without_gpu(arguments, facts)

    # Share the cores among the most processes.
    most = torch.cuda.device_count() or facts["cores"]
    wanted = arguments.processes or [number for number in (2, 4, 8) if number <= most]
    processes = sorted({1, *wanted})
    facts["threads"] = os.environ["OMP_NUM_THREADS"] = str(max(1, facts["cores"] // processes[-1]))
    facts["gpus"] = torch.cuda.device_count()
    arguments.subjects = max(arguments.subjects, arguments.batch_size * processes[-1])

    with tempfile.TemporaryDirectory(prefix="clintune-scale-") as name:
        bench = Bench(Path(name), facts["precision"])
        settings = bench.prepare(arguments)
        bench.run("clintune", asdict(settings), "trainer.max_steps=1")  # fills the cache
        rows = compare(measure(bench, settings, processes, arguments))

    print_report(facts, rows)
    result = {
        "machine": facts,
        "settings": asdict(settings),
        "runs": rows,
        "size": size_series(arguments.size),
    }
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="scripts/benchmark_scale", description=__doc__)
    listed = "separated by commas"
    parser.add_argument(
        "--processes", type=lambda text: [int(word) for word in text.split(",")],
        help=f"numbers of processes, {listed}; one is always measured (default 1,2,4,8, up to the "
        "GPUs or else cores)",
    )  # fmt: skip
    parser.add_argument(
        "--strategy",
        type=lambda text: text.split(","),
        default=["ddp", "fsdp2"],
        help=f"{listed} (default ddp,fsdp2)",
    )
    parser.add_argument(
        "--steps", type=int, default=12, help="measured, after the first ones (default 12)"
    )
    parser.add_argument("--repeats", type=int, default=1, help="runs of each; medians count")
    parser.add_argument(
        "--batch-size", type=int, default=Settings.batch_size, help="of one process (default 32)"
    )
    parser.add_argument(
        "--subjects",
        type=int,
        default=120,
        help="of the cohort, at least those of the largest batch",
    )
    parser.add_argument("--image-size", type=int, default=224, help="side in pixels (default 224)")
    parser.add_argument(
        "--precision",
        choices=("bf16", "fp32"),
        help="default bf16 where the machine computes in it",
    )
    parser.add_argument("--backbone", choices=tuple(BACKBONES), default="minilm")
    parser.add_argument(
        "--no-size", dest="size", action="store_false", help="leave out scripts/benchmark_size"
    )
    parser.add_argument(
        "--json", type=Path, help="write machine, settings, runs and sizes to this file"
    )

    # What `Bench.prepare` takes beside these.
    parser.set_defaults(cohort=None, label="deterioration", quantize=None)
    return parser.parse_args()


def measure(
    bench: Bench, settings: Settings, processes: list[int], arguments: argparse.Namespace
) -> list[dict[str, Any]]:
    """Run one process alone, then every strategy with each number of others, strong and weak.

    Return the figures.
    """
    # Plan the runs.
    batch = arguments.batch_size
    plan = [("one process", "-", 1, batch)]
    for strategy in arguments.strategy:
        several = [number for number in processes if number > 1]
        plan += [("strong", strategy, number, batch) for number in several]
        plan += [("weak", strategy, number, batch * number) for number in several]

    rows = []
    for scaling, strategy, number, size in plan:
        words = [
            f"trainer.max_steps={WARM_UP + arguments.steps + PROFILED + 1}",
            f"trainer.batch_size={size}",
            "trainer.checkpoint_every=1000000",
            *([f"strategy={strategy}"] if number > 1 else []),
        ]
        program = [*launcher(number), str(HERE / "process.py")]

        done = []
        for _ in range(arguments.repeats):
            busy = psutil.cpu_percent(interval=1) / 100
            done.append({**bench.call(program, asdict(settings), *words)[0], "busy_before": busy})
        facts = {"scaling": scaling, "strategy": strategy, "processes": number, "batch_size": size}
        rows.append(facts | median(done))
    return rows


def launcher(number: int) -> list[str]:
    """Return the words that start several processes, as clintune's `cluster.processes` does."""
    if number == 1:
        return []
    place = ["--rdzv-backend=c10d", "--rdzv-endpoint=localhost:0", "--local-addr=127.0.0.1"]
    return ["-m", "torch.distributed.run", f"--nproc-per-node={number}", *place]


def compare(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the rows with speed-up over the first, one process, and efficiency."""
    one = rows[0]["samples_per_second"]
    return [
        {**row, "speed_up": row["samples_per_second"] / one,
         "efficiency": row["samples_per_second"] / one / row["processes"]}
        for row in rows
    ]  # fmt: skip


def print_report(facts: dict[str, Any], rows: list[dict[str, Any]]) -> None:
    """Print machine and runs."""
    console = print_runs(facts, ("scaling", "strategy"), COLUMNS, rows)
    console.print(NOTES, style="dim")


def size_series(wanted: bool) -> dict[str, Any] | None:
    """Run scripts/benchmark_size, which prints its own table; return its figures."""
    if not wanted:
        return None
    with tempfile.TemporaryDirectory(prefix="clintune-size-") as folder:
        out = Path(folder) / "size.json"
        subprocess.run(
            [sys.executable, str(HERE.parent / "benchmark_size"), "--out", str(out)], check=True
        )
        figures: dict[str, Any] = json.loads(out.read_text(encoding="utf-8"))
        return figures


if __name__ == "__main__":
    main()
