"""Trains the same parts on the same data with clintune and a plain loop, and prints both speeds."""

import argparse
import contextlib
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

from settings import BACKBONES, Settings

from report import Ratio, machine, print_report

HERE = Path(__file__).parent
SCENARIOS = ("frozen", "trained", "floor")
FLOOR_EPOCHS = 10
_LOOK_SECONDS = 2
"""Between looks at the memory of a run."""


def main() -> None:
    """Measure what the arguments ask for."""
    arguments = parse()
    facts = machine(arguments.precision)
    refuse_without_gpu(arguments, facts)

    with tempfile.TemporaryDirectory(prefix="clintune-speed-") as name:
        bench = Bench(Path(name), facts["precision"])
        settings = bench.prepare(arguments)
        rows = []
        for kind in arguments.scenario:
            rows += scenario(bench, kind, settings, arguments)

    ratios = [ratio for row in rows if (ratio := Ratio.of(row, rows)) is not None]
    print_report(facts, rows, ratios)
    if arguments.json:
        result = {
            "machine": facts,
            "settings": asdict(settings),
            "runs": rows,
            "ratios": [asdict(r) for r in ratios],
        }
        arguments.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="scripts/benchmark_speed", description=__doc__)

    # What is compared, and how often.
    parser.add_argument(
        "--scenario", nargs="+", choices=SCENARIOS, default=SCENARIOS,
        help="frozen: frozen encoders, cold cache built inside the timing; trained: LoRA in the "
        "encoders as well, so that they run at each step of both, two epochs; floor: a warm cache "
        "against the bare step on one batch",
    )  # fmt: skip
    parser.add_argument(
        "--epochs", nargs="+", type=int, default=[5, 20], help="of scenario frozen (default 5 20)"
    )
    parser.add_argument(
        "--repeats", type=int, default=1, help="runs of each, interleaved; medians count"
    )

    # The data.
    parser.add_argument(
        "--subjects", type=int, default=160, help="of the generated cohort (default 160)"
    )
    parser.add_argument(
        "--cohort", type=Path, help="a MEDS cohort of your own with notes and images instead"
    )
    parser.add_argument("--label", default="deterioration", help="label of that cohort")
    parser.add_argument("--image-size", type=int, default=224, help="side in pixels (default 224)")

    # The model.
    parser.add_argument(
        "--batch-size", type=int, help="default 32, as in the recipes; 48 for the large backbones"
    )
    parser.add_argument(
        "--precision",
        choices=("bf16", "fp32"),
        help="default bf16 where the machine computes in it",
    )
    parser.add_argument("--backbone", choices=tuple(BACKBONES), default="minilm")
    parser.add_argument("--quantize", choices=("4bit",), help="backbone in 4 bit (QLoRA)")
    parser.add_argument(
        "--json", type=Path, help="write machine, settings, runs and ratios to this file"
    )
    return parser.parse_args()


def refuse_without_gpu(arguments: argparse.Namespace, facts: dict[str, Any]) -> None:
    """Exit where the arguments ask for what only a GPU can do, and there is none."""
    if arguments.backbone != "minilm" and not facts["gpu"]:
        sys.exit(
            f"backbone {arguments.backbone} is measured on a CUDA GPU, and there is none; "
            "use --backbone minilm"
        )
    if arguments.quantize and not facts["gpu"]:
        sys.exit("--quantize 4bit needs a CUDA GPU, and there is none; leave it out")


class Bench:
    """A folder to work in, and the processes that run there."""

    def __init__(self, folder: Path, precision: str) -> None:
        self.folder = folder
        self.precision = precision

    def prepare(self, arguments: argparse.Namespace) -> Settings:
        """Write cohort, samples and weights; return the settings of both sides."""
        names = ("backbone", "label", "subjects", "image_size")
        given = {name: getattr(arguments, name) for name in names}
        cohort = arguments.cohort and str(arguments.cohort.resolve())
        settings = Settings(
            **self.run("prepare", {**given, "cohort": cohort, "folder": str(self.folder)})
        )
        settings = settings.change(quantize=arguments.quantize, precision=self.precision)
        return (
            settings.change(batch_size=arguments.batch_size) if arguments.batch_size else settings
        )

    def empty_cache(self) -> None:
        """Make clintune start from nothing."""
        shutil.rmtree(self.folder / "cache", ignore_errors=True)

    def run(self, variant: str, settings: dict[str, Any], *more: str) -> dict[str, Any]:
        """Run a variant in a process of its own; exits where it fails."""
        values, peak = self.call([str(HERE / "variant.py"), variant], settings, *more)
        return values if variant == "prepare" else {**values, "tree_memory_mb": peak}

    def call(
        self, program: list[str], settings: dict[str, Any], *more: str
    ) -> tuple[dict[str, Any], float]:
        """Run `python PROGRAM SETTINGS RESULT MORE`; return its result and its peak memory in MB.

        The memory includes that of its children.
        """
        given, result = self.folder / "given.json", self.folder / "result.json"
        given.write_text(json.dumps(settings), encoding="utf-8")
        environment = {**os.environ, "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1"}
        words = [sys.executable, *program, str(given), str(result), *more]

        # Look at the memory from time to time.
        peak = 0.0
        with subprocess.Popen(
            words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=environment
        ) as job:
            while job.poll() is None:
                peak = max(peak, tree_memory(job.pid))
                with contextlib.suppress(subprocess.TimeoutExpired):
                    _, errors = job.communicate(timeout=_LOOK_SECONDS)

        if job.returncode:
            sys.exit(f"{' '.join(program)} failed:\n{errors[-4000:]}")
        values: dict[str, Any] = json.loads(result.read_text(encoding="utf-8"))
        return values, peak


def tree_memory(pid: int) -> float:
    """Return the memory in MB of a process and its children, shared pages counted once.

    It is 0 where /proc does not tell.
    """
    total = 0.0
    with contextlib.suppress(OSError):
        rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
        total = int(re.search(r"^Pss:\s+(\d+)", rollup, re.M).group(1)) / 1e3
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        total += sum(tree_memory(int(child)) for child in children)
    return total


def scenario(
    bench: Bench, kind: str, settings: Settings, arguments: argparse.Namespace
) -> list[dict[str, Any]]:
    """Run a scenario's two variants in turn, as often as asked; return the median run of each."""
    repeats = arguments.repeats
    if kind == "frozen":
        rows = []
        for epochs in arguments.epochs:
            label = f"frozen, {epochs} epochs"
            rows += compare(bench, label, settings.change(epochs=epochs), repeats)
        return rows

    if kind == "trained":
        lora = settings.change(epochs=2, encoders="lora")
        return compare(bench, "trained, 2 epochs", lora, repeats)
    return compare_with_floor(bench, settings.change(epochs=FLOOR_EPOCHS), repeats)


def compare(bench: Bench, label: str, settings: Settings, repeats: int) -> list[dict[str, Any]]:
    """Measure clintune, from an empty cache, against the plain loop."""
    runs: dict[str, list[dict[str, Any]]] = {"clintune": [], "plain": []}
    for _ in range(repeats):
        for variant, done in runs.items():
            bench.empty_cache()
            done.append(bench.run(variant, asdict(settings)))
    return [
        {"scenario": label, "variant": variant, **median(done)} for variant, done in runs.items()
    ]


def compare_with_floor(bench: Bench, settings: Settings, repeats: int) -> list[dict[str, Any]]:
    """Measure clintune with a warm cache against the bare step on one batch.

    Checkpoints are left to the end.
    """
    runs: dict[str, list[dict[str, Any]]] = {"clintune, warm": [], "floor": []}
    bench.empty_cache()
    bench.run("clintune", asdict(settings), "trainer.max_steps=1")
    for _ in range(repeats):
        runs["clintune, warm"].append(
            bench.run("clintune", asdict(settings), "trainer.checkpoint_every=1000000")
        )
        runs["floor"].append(bench.run("floor", asdict(settings)))
    return [
        {"scenario": "floor", "variant": variant, **median(done)} for variant, done in runs.items()
    ]


def median(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the median of each figure, and of losses the last run's."""
    found = {}
    for key, value in runs[-1].items():
        is_figure = isinstance(value, int | float)
        found[key] = statistics.median([run[key] for run in runs]) if is_figure else value
    return found


if __name__ == "__main__":
    main()
