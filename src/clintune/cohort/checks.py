"""Checks of a config's cohorts by their files alone, within a second, before any heavy import.

No torch here.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from meds.schema import data_subdirectory

from clintune.cohort.labels import label_files, label_not_found
from clintune.cohort.shards import data_files
from clintune.config.schema import Cohort
from clintune.core.errors import ClintuneError
from clintune.core.files import file_sha256
from clintune.storage.remote import is_remote

_OURS = "clintune.tasks."
"""The module of clintune's own tasks; a user's task may keep its labels elsewhere."""


def folder_problems(
    cohorts: Mapping[str, Cohort], cv: Any = None, tasks: Mapping[str, Any] | None = None
) -> Iterator[str]:
    """Yield what is missing in the cohorts of a run or a scoring job.

    Checked are root, data, labels, tables of folds and groups. A cohort behind a URL or with a
    `source` may not be here yet: it is skipped, and then so are all labels. Two cohorts must not be
    equal.
    """
    roots: dict[str, Path] = {}
    for name, cohort in cohorts.items():
        if is_remote(cohort.root) or cohort.source is not None:
            continue
        roots[name] = root = Path(cohort.root).expanduser().resolve()
        try:
            yield from _cohort_problems(name, root, cohort, cv)
        except ClintuneError as error:
            yield str(error)

    if len(roots) == len(cohorts) and all(root.is_dir() for root in roots.values()):
        yield from _label_problems(tasks or {}, roots)
    yield from equal_cohorts(roots)


def equal_cohorts(roots: Mapping[str, Path]) -> Iterator[str]:
    """Yield each cohort whose tables equal those of another: equal ids count as two people.

    The names of the tables do not matter. Files are read only where those of two cohorts have the
    same sizes.
    """
    tables = {name: data_files(root) for name, root in roots.items() if root.is_dir()}
    alike: dict[tuple[int, ...], list[str]] = defaultdict(list)
    for name, files in tables.items():
        alike[tuple(sorted(path.stat().st_size for path in files))].append(name)

    same_sizes = [names for sizes, names in alike.items() if sizes and len(names) > 1]
    for names in same_sizes:
        first: dict[tuple[str, ...], str] = {}
        for name in names:
            other = first.setdefault(tuple(sorted(map(file_sha256, tables[name]))), name)
            if other != name:
                yield (
                    f"cohorts.{other} and cohorts.{name} have equal tables ({roots[other]} and "
                    f"{roots[name]}): the same people would train and test; drop one of them"
                )


def _cohort_problems(name: str, root: Path, cohort: Cohort, cv: Any) -> Iterator[str]:
    """Yield what is missing in one cohort: root, data, tables of folds and groups."""
    if not root.is_dir():
        yield f"cohorts.{name}.root: {root} is not a folder; correct the path or name a `source`"
        return
    if not data_files(root):
        data = root / data_subdirectory
        yield f"{data}: holds no Parquet file; write the cohort's MEDS tables there"

    tables = {f"cohorts.{name}.groups": cohort.groups}
    if isinstance(cv, str):
        tables["cv"] = cv
    elif cv is not None:
        tables[f"cohorts.{name}.folds"] = cohort.folds
    for key, table in tables.items():
        if table is not None and not (root / table).is_file():
            yield f"{key}: {root / table}: is missing; write it, or correct its path in the recipe"


def _label_problems(tasks: Mapping[str, Any], roots: Mapping[str, Path]) -> Iterator[str]:
    """Yield each task whose label no cohort has, and each cohort that has the label of no task."""
    labels: dict[str, str] = {}
    for name, task in tasks.items():
        label = task.get("label")
        if str(task.get("_target_")).startswith(_OURS) and isinstance(label, str):
            labels[name] = label
    labels = {name: label for name, label in labels.items() if label != "???"}

    # Which cohorts have the label of each task.
    having: dict[str, set[str]] = {name: set() for name in labels}

    try:
        for task, label in labels.items():
            having[task] = {name for name, root in roots.items() if label_files(root, label)}
    except ClintuneError as error:
        yield str(error)
        return

    for task, label in labels.items():
        if not having[task]:
            yield f"tasks.{task}.label: {label_not_found(label, roots.values())}"

    # A task without such a label may keep its labels anywhere: then nothing is said of a cohort.
    found = set().union(*having.values())
    if labels and len(labels) == len(tasks) and found:
        for name in sorted(roots.keys() - found):
            yield (
                f"cohorts.{name}: {roots[name]} has no labels of {', '.join(tasks)}; "
                "add labels or drop the cohort"
            )
