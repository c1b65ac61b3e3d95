"""Scores a generated cohort twice, once undisturbed and once killed twice, and compares the two.

The killed job is resumed. Prints the speed and the memory of the undisturbed job as it goes, and
exits with 1 unless memory stays flat, each sample stands exactly once, nothing is left of the
killed processes, and both jobs say the same, bit for bit.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path

import polars as pl
import psutil

from cohort import write_cohort

RECIPE = """# A tiny model of notes and facts.
defaults:
  - base
  - cohort: [meds]
  - modality: [notes, static]
  - task@tasks.outcome: binary
  - override /backbone: tiny
  - _self_
modalities:
  notes:
    source: random
    tokenizer: bundled:minilm
    config: {model_type: bert, vocab_size: 30522, hidden_size: 32, num_hidden_layers: 1,
      num_attention_heads: 2, intermediate_size: 64, max_position_embeddings: 64}
    max_pieces: 4
tasks: {outcome: {label: outcome}}
trainer: {precision: fp32, max_steps: 20, batch_size: 32, micro_batch_size: 32}
"""
SHARES = (0.01, 0.1, 0.25, 0.5, 1.0)
KILLED_AT = (0.2, 0.55)
FLAT = 1.05
"""Most that memory may grow from a tenth of the samples to all of them."""
_LOOK_SECONDS = 0.1


def main() -> int:
    """Measure and compare; return the exit code."""
    parser = argparse.ArgumentParser(prog="scripts/benchmark_predict", description=__doc__)
    parser.add_argument(
        "--samples", type=int, default=200_000, help="of the cohort, one a subject (default 200000)"
    )
    parser.add_argument(
        "--shard-size", type=int, default=2000, help="samples a shard (default 2000)"
    )
    parser.add_argument("--batch-size", type=int, default=64, help="samples a batch (default 64)")
    parser.add_argument(
        "--folder", type=Path, help="where to work and what to keep (default: a temporary folder)"
    )
    arguments = parser.parse_args()
    if arguments.samples * SHARES[0] < arguments.shard_size:
        parser.error(
            f"memory is looked at after {SHARES[0]:.0%} of the samples: give {1 / SHARES[0]:.0f} "
            "shards or more, by a smaller --shard-size"
        )

    with tempfile.TemporaryDirectory(prefix="clintune-predict-") as temporary:
        folder = (arguments.folder or Path(temporary)).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        return measure(folder, arguments)


def measure(folder: Path, arguments: argparse.Namespace) -> int:
    """Write cohort and package, score twice, print what was found; return the exit code."""
    # So small a model has no work for several threads.
    samples, num_shards = arguments.samples, -(-arguments.samples // arguments.shard_size)
    os.environ["CLINTUNE_CACHE"] = str(folder / "cache")
    os.environ.setdefault("OMP_NUM_THREADS", "1")

    # Write the cohorts, and train the package.
    start = time.monotonic()
    write_cohort(folder / "small", 400, labelled=True)
    write_cohort(folder / "large", samples, labelled=False)
    print(f"wrote {samples} subjects in {time.monotonic() - start:.0f} s", flush=True)
    (folder / "tiny.yaml").write_text(RECIPE, encoding="utf-8")
    run = clintune(
        "train",
        str(folder / "tiny.yaml"),
        f"cohorts.meds.root={folder / 'small'}",
        f"runs={folder / 'runs'}",
    )
    job = ["predict", run, f"cohort={folder / 'large'}", "times=last"]
    job += [f"shard_size={arguments.shard_size}", f"batch_size={arguments.batch_size}"]

    # Score twice: undisturbed, and killed and resumed.
    whole, broken = folder / "whole", folder / "broken"
    seen = watch([*job, f"out={whole}"], whole, num_shards)
    for share in KILLED_AT:
        watch([*job, f"out={broken}"], broken, num_shards, kill_at=share)
    watch(["predict", "--resume", str(broken)], broken, num_shards)

    summary = json.loads((whole / "summary.json").read_text(encoding="utf-8"))
    print(
        f"{summary['samples_per_second']:.0f} samples/s, {summary['seconds']:.0f} s, "
        "all by one process"
    )

    # The most before each share, since the one before: what the start took does not hide what comes
    # later. At its end a process reads pages of libraries once more to unload them.
    memory = {}
    for since, to in pairwise((0.0, *SHARES)):
        memory[to] = max([mb for share, mb in seen if since <= share < to])
    listed = ", ".join(f"{mb:.0f} up to {share:.0%}" for share, mb in memory.items())
    print(f"most memory in MB: {listed}")

    is_flat = memory[1.0] < FLAT * memory[0.1]
    is_once = stands_once(broken, samples) and stands_once(whole, samples)
    checks = {
        f"memory grows by less than {FLAT - 1:.0%} from a tenth of the samples to all": is_flat,
        "each sample stands exactly once": is_once,
        "what was killed twice equals what was not": predictions(broken).equals(predictions(whole)),
        "both folders hold the same files": files(broken) == files(whole),
    }
    for check, holds in checks.items():
        print(f"{'yes' if holds else 'NO':<4} {check}")
    return 0 if all(checks.values()) else 1


def clintune(*words: str) -> str:
    """Run clintune and return the last line that it prints; exits where it fails."""
    done = subprocess.run(
        [sys.executable, "-m", "clintune.cli", *words], capture_output=True, text=True
    )
    if done.returncode:
        sys.exit(done.stderr)
    return done.stdout.splitlines()[-1]


def watch(
    words: list[str], out: Path, num_shards: int, kill_at: float = 1.0
) -> list[tuple[float, float]]:
    """Run a job until such a share of its shards is done, then kill it.

    Return the share and the memory in MB as it went.
    """
    seen = []
    with psutil.Popen(
        [sys.executable, "-m", "clintune.cli", *words], stdout=subprocess.DEVNULL
    ) as job:
        while job.poll() is None:
            share = len(list(out.glob("shards/[0-9]*.json"))) / num_shards
            seen.append((share, job.memory_info().rss / 1e6))
            if kill_at <= share < 1:
                job.kill()
                print(f"killed with {share:.0%} of the shards done", flush=True)
                return seen
            time.sleep(_LOOK_SECONDS)

    if job.returncode:
        sys.exit(f"the job ended with {job.returncode}")
    return seen


def predictions(out: Path) -> pl.DataFrame:
    """Return all predictions of a job, in the order of its shards."""
    return pl.read_parquet(sorted(out.glob("predictions/outcome/*.parquet")))


def stands_once(out: Path, samples: int) -> bool:
    """Return whether each subject has exactly one prediction."""
    return predictions(out)["subject_id"].sort().to_list() == list(range(1, samples + 1))


def files(out: Path) -> set[str]:
    """Return the names of all files of a job."""
    return {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}


if __name__ == "__main__":
    sys.exit(main())
