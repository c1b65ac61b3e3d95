"""The folder of a scoring job: its config in job.yaml, and which shards are done.

No torch here.
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from clintune.config.compose import load_section
from clintune.config.schema import Scoring
from clintune.config.typed import to_yaml
from clintune.core.errors import ClintuneError, ConfigError, TrainingError
from clintune.core.files import read_json, write_text
from clintune.core.paths import check_name, timed_folder, writable_folder
from clintune.launch.processes import is_worker
from clintune.launch.status import read_status

JOB = "job.yaml"
ORIGIN = "origin.json"
SUMMARY = "summary.json"
UNREADABLE = "unreadable.csv"
WORK = "work"
"""Folder for the time of the job: the cohort's index, with the text of its notes."""
_ASKED = (
    "package",
    "revision",
    "trusted",
    "cohorts",
    "times",
    "shard_size",
    "batch_size",
    "precision",
)
"""Keys on which the results depend."""


@dataclass(frozen=True, kw_only=True)
class Shard:
    """The samples [start, stop) that are scored together, and their files in the folder `out`."""

    out: Path
    number: int
    start: int
    stop: int

    @property
    def name(self) -> str:
        """Return the name of the shard's files."""
        return f"{self.number:06d}"

    @property
    def record(self) -> Path:
        """Return the file of the shard's counts; it is written last, and then the shard is done."""
        return self.out / "shards" / f"{self.name}.json"

    @property
    def unreadable(self) -> Path:
        """Return the file of the table of the shard's unreadable items."""
        return self.out / "shards" / f"{self.name}.parquet"

    def is_done(self) -> bool:
        """Return whether all files of the shard are written."""
        return self.record.exists()

    def read_record(self) -> dict[str, Any]:
        """Return the shard's counts."""
        record: dict[str, Any] = read_json(self.record)
        return record


def done_shards(out: Path) -> set[str]:
    """Return the names of the shards that are done, by listing the folder once."""
    return {path.stem for path in out.glob("shards/[0-9]*.json")}


def cut(out: Path, num_samples: int, shard_size: int) -> list[Shard]:
    """Return the fewest shards of at most `shard_size` samples, all of about one size."""
    num = -(-num_samples // shard_size)
    bounds = [num_samples * i // num for i in range(num + 1)]
    return [Shard(out=out, number=i, start=bounds[i], stop=bounds[i + 1]) for i in range(num)]


def make_job(config: Scoring) -> Path:
    """Write job.yaml to a new folder, or to that of the same job, which then goes on.

    Returns the folder. Paths become absolute, so that the job can go on from any working directory.
    Raises ConfigError for a folder that holds anything else, and for times that are no file.
    """
    # Make paths absolute.
    if (folder := Path(config.package).expanduser()).exists():
        config = replace(config, package=str(folder.resolve()))
    if config.times not in (None, "last"):
        times = Path(config.times).expanduser().resolve()
        if not times.is_file():
            raise ConfigError(
                f"times: {times} is not a file; "
                "give a Parquet file, `last`, or null for those of labels"
            )
        config = replace(config, times=str(times))

    # Find the folder.
    if config.out is None:
        name = check_name(_name_of(config.package), "package: the last part of its address")
        out = timed_folder(writable_folder("predictions", "out") / name)
    else:
        out = writable_folder(config.out, "out")
        _check_is_ours(out, config)
    write_text(out / JOB, to_yaml(config))
    return out


@contextmanager
def removed_if_refused(out: Path) -> Iterator[None]:
    """Remove the folder of a new job if its package, cohort or cluster is refused before it begins.

    A job that was started before stays, and one whose processes failed by themselves: its logs say
    why.
    """
    is_new = read_status(out) is None and not is_worker()
    try:
        yield
    except ClintuneError as error:
        has_begun = isinstance(error, TrainingError) or (out / "shards" / ORIGIN).exists()
        if is_new and not has_begun:
            shutil.rmtree(out, ignore_errors=True)  # a mounted folder can only be emptied
        raise


def read_job(out: Path) -> Scoring:
    """Return the config of the job in a folder; raise ConfigError if there is none."""
    if not (out / JOB).is_file():
        raise ConfigError(f"{out}: no {JOB} there; give the folder that `clintune predict` printed")
    return load_section(out / JOB, Scoring)


def _check_is_ours(out: Path, config: Scoring) -> None:
    if not any(out.iterdir()):
        return
    if not (out / JOB).is_file():
        raise ConfigError(f"out: {out} holds other files; name another folder")
    before = read_job(out)
    for key in _ASKED:
        if getattr(before, key) != getattr(config, key):
            raise ConfigError(
                f"out: {out} holds the results of a job with other `{key}`; name another folder"
            )


def _name_of(package: str) -> str:
    """Return a short name: for a run that of its recipe, else the last part of the address."""
    folder = Path(package)
    return folder.parent.name if (folder / "recipe.yaml").is_file() else folder.name
