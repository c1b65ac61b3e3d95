"""Checks of a config's cohorts by their files alone, within a second, before any heavy import.

No torch here.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from meds.schema import data_subdirectory

from clintune.cohort.labels import list_label, name_problems, unknown_label
from clintune.cohort.listing import list_tables
from clintune.cohort.shards import no_shard
from clintune.config.schema import Cohort
from clintune.core.files import file_sha256
from clintune.core.problems import Problem
from clintune.storage.remote import is_remote

_OURS = "clintune.tasks."
"""The module of clintune's own tasks; a user's task may keep its labels elsewhere."""


def folder_problems(
    cohorts: Mapping[str, Cohort], cv: Any = None, tasks: Mapping[str, Any] | None = None
) -> Iterator[Problem]:
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
        yield from _cohort_problems(name, root, cohort, cv)

    if len(roots) == len(cohorts) and all(root.is_dir() for root in roots.values()):
        yield from _label_problems(tasks or {}, roots)
    yield from equal_cohorts(roots)


def equal_cohorts(roots: Mapping[str, Path]) -> Iterator[Problem]:
    """Yield each cohort whose tables equal those of another: equal ids count as two people.

    The names of the tables do not matter. Files are read only where those of two cohorts have the
    same sizes.
    """
    tables = {name: list_tables(root / data_subdirectory).files for name, root in roots.items()}
    alike: dict[tuple[int, ...], list[str]] = defaultdict(list)
    for name, files in tables.items():
        alike[tuple(sorted(path.stat().st_size for path in files))].append(name)

    same_sizes = [names for sizes, names in alike.items() if sizes and len(names) > 1]
    for names in same_sizes:
        first: dict[tuple[str, ...], str] = {}
        for name in names:
            other = first.setdefault(tuple(sorted(map(file_sha256, tables[name]))), name)
            if other != name:
                yield Problem(
                    f"cohorts.{other} and cohorts.{name}",
                    f"have equal tables ({roots[other]} and {roots[name]}): "
                    "the same people would train and test",
                    "drop one of them",
                )


def no_folder(name: str, root: Path) -> Problem:
    """Return the problem of a cohort whose root is no folder."""
    remedy = "correct the path or name a `source`"
    return Problem(f"cohorts.{name}.root", f"{root} is not a folder", remedy)


def _cohort_problems(name: str, root: Path, cohort: Cohort, cv: Any) -> Iterator[Problem]:
    """Yield what is missing in one cohort: root, data, tables of folds and groups."""
    if not root.is_dir():
        yield no_folder(name, root)
        return

    files, hidden = list_tables(root / data_subdirectory)
    yield from hidden
    if not (files or hidden):
        yield no_shard(root)

    tables = {f"cohorts.{name}.groups": cohort.groups}
    if isinstance(cv, str):
        tables["cv"] = cv
    elif cv is not None:
        tables[f"cohorts.{name}.folds"] = cohort.folds
    for key, table in tables.items():
        if table is not None and not (root / table).is_file():
            remedy = "write it, or correct its path in the recipe"
            yield Problem(f"{key}: {root / table}", "is missing", remedy)


def _label_problems(tasks: Mapping[str, Any], roots: Mapping[str, Path]) -> Iterator[Problem]:
    """Yield what is wrong with the labels of tasks, and each cohort that has the label of none."""
    labels = _labels(tasks)
    # A task of another kind may keep its labels anywhere: then nothing is said of a cohort.
    is_sure, found = len(labels) == len(tasks), set[str]()

    for task, label in labels.items():
        where = f"tasks.{task}.label"
        problems = list(name_problems(where, label))
        if not problems:
            listed = {name: list_label(root, label) for name, root in roots.items()}
            having = {name for name, listing in listed.items() if listing.files}
            found |= having
            problems = [problem for listing in listed.values() for problem in listing.problems]
            if not (having or problems):
                yield unknown_label(where, label, roots.values())
        yield from problems
        is_sure = is_sure and not problems

    if is_sure and found:
        for name in sorted(roots.keys() - found):
            what = f"{roots[name]} has no labels of {', '.join(tasks)}"
            yield Problem(f"cohorts.{name}", what, "add labels or drop the cohort")


def _labels(tasks: Mapping[str, Any]) -> dict[str, str]:
    """Return the label of each of clintune's own tasks that gives one."""
    labels = {}
    for name, task in tasks.items():
        label = task.get("label")
        is_ours = str(task.get("_target_")).startswith(_OURS)
        if is_ours and isinstance(label, str) and label != "???":
            labels[name] = label
    return labels
