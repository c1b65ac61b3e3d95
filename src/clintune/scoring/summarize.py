"""Write what the folder of a job holds at its end: the list of unreadable items, and a summary."""

import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from clintune.core.console import console
from clintune.core.disclosure import SMALLEST_SHOWN, percent
from clintune.core.files import atomic_path, read_json, sweep_leftovers, write_json
from clintune.core.locks import exclusive_lock, lock_of
from clintune.evaluation.predictions import CALIBRATED, RAW
from clintune.inference.answerer import never_finite
from clintune.scoring.job_folder import ORIGIN, SUMMARY, UNREADABLE, WORK, Shard, read_job


def finish(out: Path, shards: Sequence[Shard], lacking: Mapping[str, float]) -> None:
    """List unreadable items, remove what is needed no more, and write the summary.

    All shards are done. `lacking` is the share of samples that lack each modality. Raises
    PackageError if a task has a finite answer for no sample.
    """
    with exclusive_lock(out / "shards" / SUMMARY, "the summary"):
        shutil.rmtree(out / WORK, ignore_errors=True)
        if (out / SUMMARY).exists():
            return
        for folder in (CALIBRATED, RAW, "shards"):
            sweep_leftovers(out / folder)

        # Sum the counts of all shards.
        records = [shard.read_record() for shard in shards]
        num_samples = sum(record["samples"] for record in records)
        seconds = sum(record["seconds"] for record in records)
        abstained, not_finite = (_total(records, key) for key in ("abstained", "not_finite"))
        for task, number in not_finite.items():
            if number == num_samples:
                raise never_finite(task)

        num_unreadable = sum(record["unreadable"] for record in records)
        _list_unreadable(out, shards, num_unreadable)
        for sentence in strange_words(records):
            console.print(sentence)

        summary = {
            "package": read_job(out).package,
            **read_json(out / "shards" / ORIGIN),
            "samples": num_samples,
            "abstained": abstained,
            "not_finite": not_finite,
            "unreadable": num_unreadable,
            "lacking": dict(lacking),
            "seconds": seconds,
            "samples_per_second": num_samples / seconds,
            "peak_memory_mb": max(record["peak_memory_mb"] for record in records),
        }
        write_json(out / SUMMARY, summary)

        for lock in (lock_of(shard.record) for shard in shards):
            lock.unlink(missing_ok=True)


def _list_unreadable(out: Path, shards: Sequence[Shard], number: int) -> None:
    """Write the items that could not be read to one file, in place of that of a refused start."""
    (out / UNREADABLE).unlink(missing_ok=True)
    if number:
        parts = [shard.unreadable for shard in shards if shard.unreadable.exists()]
        with atomic_path(out / UNREADABLE) as partial:
            pl.scan_parquet(parts, glob=False).sink_csv(partial)
        console.print(f"{number} lines of {out / UNREADABLE} say what could not be read")


def strange_words(records: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Yield a line for each strangeness that is much in all shards together.

    A strangeness is what is not as in training, as `Modality.strange` counts it.
    """
    for what, (_, _, much) in records[0]["strange"].items():
        counts = [record["strange"][what] for record in records]
        part, whole = (sum(column) for column in list(zip(*counts, strict=True))[:2])
        if part >= SMALLEST_SHOWN and part > much * whole:
            yield f"note: {percent(part, whole)} {what}"


def _total(records: Sequence[Mapping[str, Any]], key: str) -> dict[str, int]:
    """Return the counts under a key of each shard's record, summed by name."""
    totals = dict.fromkeys(records[0][key], 0)
    for record in records:
        for name in totals:
            totals[name] += record[key][name]
    return totals
