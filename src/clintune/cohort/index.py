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
from clintune.cohort.checks import no_folder
from clintune.cohort.clock import clock_of, clock_problems
from clintune.cohort.mirror import local_root
from clintune.cohort.row_source import RowSource
from clintune.cohort.row_source import VisibleItems as VisibleItems
from clintune.cohort.rows import StoredRows
from clintune.cohort.seal import INDEX, damage, table_hashes
from clintune.cohort.shards import SUBJECT, find_shards
from clintune.config.schema import Cohort
from clintune.core.console import console
from clintune.core.errors import ConfigError, DataError
from clintune.core.extras import how_to_install, is_installed
from clintune.core.files import atomic_path, value_sha256
from clintune.core.locks import exclusive_lock
from clintune.core.problems import raise_first
from clintune.storage.cache_folder import mark_used

_FORMAT = 7
_READERS = {".dcm": "pydicom", ".hea": "wfdb"}
"""Packages that read a kind of media file for clintune's own modalities, and may be missing."""


class Selector(Protocol):
    """What the index needs of a modality's reader."""

    @property
    def media_column(self) -> str | None:
        """Name the media column of the items, if they are files."""

    def row_filter(self) -> pl.Expr:
        """Return an expression that is true for the rows to read."""


class Labelled(Protocol):
    """What the index needs of a task."""

    def read(self, root: Path) -> pl.DataFrame | None:
        """Read subject_id, prediction_time and target (list of float32) of a cohort."""


class SampleIndex(RowSource):
    """The samples of one cohort, in (subject, prediction time) order.

    Files are memory-mapped on first use. Pickling keeps only the folder's path, so an index travels
    to data loading workers, forked or spawned, at no cost.
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
        """Sentences on what is doubtful about the cohort."""
        self.widths = about["tasks"]

        known = (self.root, self.codes, about["shards"], self.has_zone)
        self.rows = {name: StoredRows(folder, name, *known) for name in about["modalities"]}
        mark_used(folder)

    @classmethod
    def open(
        cls,
        name: str,
        cohort: Cohort,
        readers: Mapping[str, Selector],
        tasks: Mapping[str, Labelled],
        cache: Path,
    ) -> "SampleIndex":
        """Open the index of a cohort under `cache`; build it first where its inputs have changed.

        An index with a file that is not as it was written is named and built again. Two processes
        do not build one index twice. Raises DataError for data or labels that break the contract,
        and ConfigError for media files that need a package which is not installed.
        """
        root = local_root(cohort.root, cache)
        if not root.is_dir():
            raise DataError(str(no_folder(name, root)))

        # The index is named after all that it depends on.
        row_filter = row_selections(readers)
        labels = _read_labels(root, tasks)
        fingerprint = _fingerprint(name, root, cohort, _hashes(root, cache), row_filter, labels)
        folder = cache.expanduser() / "index" / f"{name}-{fingerprint[:16]}"

        damage(folder)  # many processes read it side by side; under the lock it is remembered
        with exclusive_lock(folder, f"the index of {name}"):
            if damaged := damage(folder):
                if folder.is_dir():
                    text = f"{folder / damaged}: is not as it was written; the index is built again"
                    console.print(text)
                about = {"name": name, "root": str(root), "fingerprint": fingerprint}
                lookback, drop = cohort.lookback_hours, cohort.unknown_subjects == "drop"
                with atomic_path(folder) as partial:
                    write_index(partial, root, row_filter, labels, lookback, about, drop)
            index = cls(folder)

        for key, reader in readers.items():
            if type(reader).__module__.startswith("clintune."):
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
        """Return a task's targets [N, T], NaN where unknown; [N, 0] without labels for the task."""
        return self._targets[task]

    def _check_readers(self, modality: str) -> None:
        """Raise ConfigError where samples see media files whose reader is not installed.

        The names of the files tell it; none is read.
        """
        lacking = {end: package for end, package in _READERS.items() if not is_installed(package)}
        if not lacking:
            return

        seen = self.each_item_once(modality, np.arange(len(self))).number
        paths = self.rows[modality].paths(seen)
        for end, package in lacking.items():
            if number := sum(path.suffix.lower() == end for path in paths):
                raise ConfigError(
                    f"modalities.{modality}: {number} of the {len(paths)} media files of cohort "
                    f"{self.name} end in {end}, and reading them needs {package}; "
                    f"{how_to_install(package)}"
                )

    @cached_property
    def _samples(self) -> Dataset:
        return Dataset.from_file(str(self.folder / "samples.arrow"))

    @cached_property
    def _ranges(self) -> dict[str, NDArray[np.int64]]:
        ranges = {}
        for name in self.modalities:
            ranges[name] = np.stack([self._column(f"{name}/{bound}") for bound in RANGE])
        return ranges

    @cached_property
    def _targets(self) -> dict[str, NDArray[np.float32]]:
        targets = {}
        for task, width in self.widths.items():
            targets[task] = np.full((len(self), width), np.nan, np.float32)
            if width:
                lists = self._samples.data[f"target/{task}"].combine_chunks()
                known = lists.is_valid().to_numpy(zero_copy_only=False)
                values = lists.flatten().to_numpy(zero_copy_only=False)
                targets[task][known] = values.reshape(-1, width)
        return targets

    def _column(self, name: str) -> NDArray[Any]:
        column: NDArray[Any] = self._samples.data[name].to_numpy()
        return column


def row_selections(readers: Mapping[str, Selector]) -> dict[str, RowSelection]:
    """Return the selection of the rows that the reader of each modality takes."""
    return {
        key: RowSelection(reader.row_filter(), reader.media_column)
        for key, reader in readers.items()
    }


def _read_labels(root: Path, tasks: Mapping[str, Labelled]) -> dict[str, pl.DataFrame | None]:
    """Return the labels of each task; None where the cohort has none.

    Raises DataError where their times have a zone and those of the cohort's events have none.
    """
    labels = {key: task.read(root) for key, task in tasks.items()}
    for key, table in labels.items():
        kind = None if table is None else table.schema[PREDICTION_TIME]
        if isinstance(kind, pl.Datetime) and kind.time_zone is not None:
            where, clock = f"the labels of {key}", clock_of(root)
            raise_first(clock_problems(where, PREDICTION_TIME, True, clock))
    return labels


def _hashes(root: Path, cache: Path) -> dict[str, str]:
    """Return the SHA-256 of each file of a cohort that its index reads."""
    metadata = root / dataset_metadata_filepath
    others = [metadata] if metadata.exists() else []
    return table_hashes(root, [*find_shards(root), *others], cache)


def _fingerprint(
    name: str,
    root: Path,
    cohort: Cohort,
    tables: Mapping[str, str],
    row_filter: Mapping[str, RowSelection],
    labels: Mapping[str, pl.DataFrame | None],
) -> str:
    """Return a hash of all that an index depends on."""
    settings = [cohort.lookback_hours, cohort.unknown_subjects]
    claims = {
        key: [claim.rows.meta.serialize().hex(), claim.media] for key, claim in row_filter.items()
    }
    digests = {key: None if table is None else _digest(table) for key, table in labels.items()}

    return value_sha256(
        {
            "format": [_FORMAT, clintune.__version__, name, str(root), *settings],
            "tables": tables,
            "claims": claims,
            "labels": digests,
        }
    )


def _digest(labels: pl.DataFrame) -> str:
    """Hash the labels themselves: a task's settings may change what it reads from a file."""
    digest = hashlib.sha256()
    for column in (SUBJECT, PREDICTION_TIME):
        digest.update(labels[column].to_physical().cast(pl.Int64).to_numpy().tobytes())
    target = labels["target"]
    digest.update(target.list.len().fill_null(0).to_numpy().tobytes())
    values = target.explode().cast(pl.Float32).fill_null(float("nan"))
    digest.update(values.to_numpy().tobytes())
    return digest.hexdigest()
