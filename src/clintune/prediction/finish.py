"""What stands in the folder of a job at its end: the list of what could not be read, and a summary."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import polars as pl

from clintune.core.console import console
from clintune.core.files import atomic_path, write_json
from clintune.core.locks import lock_of, only_one
from clintune.prediction.folder import ORIGIN, SUMMARY, UNREADABLE, Shard, read_job


def finish(out: Path, shards: Sequence[Shard]) -> None:
    """List what could not be read, remove what killed processes left and write the summary; all shards are done."""
    with only_one(out / "shards" / SUMMARY, "the summary"):
        if (out / SUMMARY).exists():
            return
        for left in [*out.glob("predictions/**/.*"), *out.glob("shards/.*")]:
            shutil.rmtree(left)
        records = [shard.read_record() for shard in shards]
        num_unreadable = sum(record["unreadable"] for record in records)
        if num_unreadable:
            parts = [shard.unreadable for shard in shards if shard.unreadable.exists()]
            with atomic_path(out / UNREADABLE) as partial:
                pl.scan_parquet(parts, glob=False).sink_csv(partial)
            console.print(f"{num_unreadable} lines of {out / UNREADABLE} say what could not be read")
        num_samples, seconds = (sum(record[key] for record in records) for key in ("samples", "seconds"))
        summary = {
            "package": read_job(out).package,
            **json.loads((out / "shards" / ORIGIN).read_text(encoding="utf-8")),
            "samples": num_samples,
            "abstained": {
                name: sum(record["abstained"][name] for record in records) for name in records[0]["abstained"]
            },
            "unreadable": num_unreadable,
            "seconds": seconds,
            "samples_per_second": num_samples / seconds,
            "peak_memory_mb": max(record["peak_memory_mb"] for record in records),
        }
        write_json(out / SUMMARY, summary)
        for lock in (lock_of(shard.record) for shard in shards):
            lock.unlink(missing_ok=True)
