"""The sample index of a cohort on disk: built once, then opened by any number of processes."""

import hashlib
import json
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import polars as pl
from datasets import Dataset
from meds.schema import dataset_metadata_filepath
from numpy.typing import NDArray

import clintune
from clintune.cohort.build import PREDICTION_TIME, RANGE, RowSelection, write_index
from clintune.cohort.mirror import local_root
from clintune.cohort.row_source import RowSource
from clintune.cohort.row_source import VisibleItems as VisibleItems
from clintune.cohort.rows import StoredRows
from clintune.cohort.seal import INDEX, damage, table_hashes
from clintune.cohort.shards import SUBJECT, check_clock, clock_of, find_shards
from clintune.config.schema import Cohort
from clintune.core.console import console
from clintune.core.errors import ConfigError, DataError
from clintune.core.extras import how_to_install, is_installed
from clintune.core.files import atomic_path, value_sha256
from clintune.core.locks import exclusive_lock
from clintune.storage.cache_folder import mark_used

_FORMAT = 7
_READERS = {".dcm": "pydicom", ".hea": "wfdb"}
"""Packages that clintune's own modalities read a kind of media file with, and that not everybody installs."""


class Claimant(Protocol):
    """What the index needs of a modality."""

    @property
    def media_column(self) -> str | None:
        """Name the media column of the items, if they are files."""

    def row_filter(self) -> pl.Expr:
        """Return an expression that is true for the modality's rows."""


class Labelled(Protocol):
    """What the index needs of a task."""

    def read(self, root: Path) -> pl.DataFrame | None:
        """Read subject_id, prediction_time and target (list of float32) of a cohort."""


class SampleIndex(RowSource):
    """The samples of one cohort, in (subject, prediction time) order.

    Files are memory-mapped and opened on first use; pickling keeps the folder's path only, so an index travels to
    data loading workers, forked or spawned, at no cost.
    """

    def __init__(self, folder: Path) -> None:
        about = json.loads((folder / INDEX).read_text(encoding="utf-8"))
        self.folder = folder
        self.name = about["name"]
        self.root = Path(about["root"])
        self.fingerprint = about["fingerprint"]
        self.codes = about["codes"]
        self.has_zone = about["has_zone"]
        self.remarks: list[str] = about["remarks"]
        """What is doubtful about the cohort, for people."""
        self.widths = about["tasks"]

        known = (self.root, self.codes, about["shards"], self.has_zone)
        self.rows = {name: StoredRows(folder, name, *known) for name in about["modalities"]}
        mark_used(folder)

    @classmethod
    def open(
        cls,
        name: str,
        cohort: Cohort,
        modalities: Mapping[str, Claimant],
        tasks: Mapping[str, Labelled],
        cache: Path,
    ) -> "SampleIndex":
        """Open the index of a cohort under `cache`, building it first where its inputs have changed.

        An index with a file that is not as it was written is named and built again. Raises DataError for data or labels
        that break the contract, ConfigError for media files that need a package which is not installed. Two processes
        do not build one index twice.
        """
        root = local_root(cohort.root, cache)
        if not root.is_dir():
            raise DataError(
                f"cohorts.{name}.root: {root} is not a folder; correct the path or name a `source`"
            )

        row_filter = {
            key: RowSelection(modality.row_filter(), modality.media_column)
            for key, modality in modalities.items()
        }
        labels = {key: task.read(root) for key, task in tasks.items()}
        for key, table in labels.items():
            kind = None if table is None else table.schema[PREDICTION_TIME]
            if isinstance(kind, pl.Datetime) and kind.time_zone is not None:
                check_clock(f"the labels of {key}", PREDICTION_TIME, True, clock_of(root))

        metadata = root / dataset_metadata_filepath
        tables = table_hashes(
            root, [*find_shards(root), *([metadata] if metadata.exists() else [])], cache
        )
        fingerprint = _fingerprint(name, root, cohort, tables, row_filter, labels)

        folder = cache.expanduser() / "index" / f"{name}-{fingerprint[:16]}"
        damage(folder)  # many processes read it side by side; under the lock it is remembered
        with exclusive_lock(folder, f"the index of {name}"):
            damaged = damage(folder)
            if damaged and folder.is_dir():
                console.print(
                    f"{folder / damaged}: is not as it was written; the index is built again"
                )
            if damaged:
                about = {"name": name, "root": str(root), "fingerprint": fingerprint}
                with atomic_path(folder) as partial:
                    drop = cohort.unknown_subjects == "drop"
                    write_index(
                        partial, root, row_filter, labels, cohort.lookback_hours, about, drop
                    )
            index = cls(folder)

        for key in (
            key
            for key, modality in modalities.items()
            if type(modality).__module__.startswith("clintune.")
        ):
            index._check_readers(key)
        for remark in index.remarks:
            console.print(f"{name}: {remark}")
        return index

    def __reduce__(self) -> tuple[Callable[[Path], "SampleIndex"], tuple[Path]]:
        return SampleIndex, (self.folder,)

    @cached_property
    def subject_ids(self) -> NDArray[np.int64]:
        """Subject of each sample [N]."""
        return self._column(SUBJECT)

    @cached_property
    def prediction_times(self) -> NDArray[np.datetime64]:
        """Prediction time of each sample [N], datetime64[us]."""
        return self._column(PREDICTION_TIME)

    def targets(self, task: str) -> NDArray[np.float32]:
        """Return a task's targets [N, T], NaN where unknown; [N, 0] where the cohort has no labels for the task."""
        return self._targets[task]

    def _check_readers(self, modality: str) -> None:
        """Raise ConfigError where samples see media files whose reader is not installed; by the files' names alone."""
        lacking = {end: package for end, package in _READERS.items() if not is_installed(package)}
        if not lacking:
            return
        paths = self.rows[modality].paths(
            self.each_item_once(modality, np.arange(len(self))).number
        )
        for end, package in lacking.items():
            if number := sum(path.suffix.lower() == end for path in paths):
                raise ConfigError(
                    f"modalities.{modality}: {number} of the {len(paths)} media files of cohort {self.name} end in "
                    f"{end}, and reading them needs {package}; {how_to_install(package)}"
                )

    @cached_property
    def _samples(self) -> Dataset:
        return Dataset.from_file(str(self.folder / "samples.arrow"))

    @cached_property
    def _ranges(self) -> dict[str, NDArray[np.int64]]:
        return {
            name: np.stack([self._column(f"{name}/{bound}") for bound in RANGE])
            for name in self.modalities
        }

    @cached_property
    def _targets(self) -> dict[str, NDArray[np.float32]]:
        targets = {}
        for task, width in self.widths.items():
            targets[task] = np.full((len(self), width), np.nan, np.float32)
            if width:
                lists = self._samples.data[f"target/{task}"].combine_chunks()
                known = lists.is_valid().to_numpy(zero_copy_only=False)
                targets[task][known] = (
                    lists.flatten().to_numpy(zero_copy_only=False).reshape(-1, width)
                )
        return targets

    def _column(self, name: str) -> NDArray[Any]:
        column: NDArray[Any] = self._samples.data[name].to_numpy()
        return column


def _fingerprint(
    name: str,
    root: Path,
    cohort: Cohort,
    tables: Mapping[str, str],
    row_filter: Mapping[str, RowSelection],
    labels: Mapping[str, pl.DataFrame | None],
) -> str:
    return value_sha256(
        {
            "format": [
                _FORMAT,
                clintune.__version__,
                name,
                str(root),
                cohort.lookback_hours,
                cohort.unknown_subjects,
            ],
            "tables": tables,
            "claims": {
                key: [claim.rows.meta.serialize().hex(), claim.media]
                for key, claim in row_filter.items()
            },
            "labels": {
                key: None if table is None else _digest(table) for key, table in labels.items()
            },
        }
    )


def _digest(labels: pl.DataFrame) -> str:
    """Hash the labels themselves: a task's settings may change what it reads from an unchanged file."""
    digest = hashlib.sha256()
    for column in (SUBJECT, PREDICTION_TIME):
        digest.update(labels[column].to_physical().cast(pl.Int64).to_numpy().tobytes())
    digest.update(labels["target"].list.len().fill_null(0).to_numpy().tobytes())
    digest.update(
        labels["target"].explode().cast(pl.Float32).fill_null(float("nan")).to_numpy().tobytes()
    )
    return digest.hexdigest()
