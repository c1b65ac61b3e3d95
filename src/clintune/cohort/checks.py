"""What of a config's cohorts is not there, found by a look at folders and files alone. No torch here."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from clintune.cohort.shards import find_shards
from clintune.core.errors import DataError
from clintune.core.paths import inside
from clintune.core.remote import is_remote

_LABELS = ("labels", "task_labels")


def folder_problems(config: Any) -> Iterator[str]:
    """Yield each folder, table and label of a run or scoring job that is missing, with its key.

    What is behind a URL, or is yet to be written by a `source`, cannot be looked at.
    """
    roots = []
    for name, cohort in config.cohorts.items():
        if is_remote(cohort.root):
            roots.append(None)
            continue
        root = Path(cohort.root).expanduser()
        roots.append(root if cohort.source is None else None)
        if cohort.source is None:
            yield from _missing(str(name), cohort, root, config.get("cv"))
        elif not root.is_dir() and cohort.source.get("raw") and not Path(cohort.source.raw).expanduser().is_dir():
            raw = Path(cohort.source.raw).expanduser()
            yield (
                f"cohorts.{name}.source.raw: {raw} is not a folder; set data.raw to the folder that holds "
                f"{raw.name}/ (docs/public_data.md says where it comes from)"
            )
    yield from _unlabelled(config.get("tasks") or {}, roots)


def _missing(name: str, cohort: Any, root: Path, cv: Any) -> Iterator[str]:
    if not root.is_dir():
        yield f"cohorts.{name}.root: {root} is not a folder; correct the path or name a `source`"
        return
    try:
        find_shards(root)
    except DataError as error:
        yield f"cohorts.{name}.root: {error}"

    tables = {"groups": cohort.groups}
    if cv is not None:
        tables["folds"] = None if isinstance(cv, str) else cohort.folds
        tables["cv"] = cv if isinstance(cv, str) else None
    for key, path in tables.items():
        if path is not None and not (root / path).is_file():
            where = "cv" if key == "cv" else f"cohorts.{name}.{key}"
            yield f"{where}: {root / path} is no file; write it, or correct it"


def _unlabelled(tasks: Any, roots: list[Path | None]) -> Iterator[str]:
    """Yield each task of which no cohort has a label, where all of them can be looked at."""
    known = [root for root in roots if root is not None and root.is_dir()]
    if len(known) != len(roots):
        return
    for name, task in tasks.items():
        label = task.get("label")
        if label is None:
            continue
        places = [inside(root / folder, label, f"tasks.{name}.label") for root in known for folder in _LABELS]
        files = [place.with_name(f"{place.name}.parquet") for place in places]
        if not any(path.exists() for path in (*places, *files)):
            yield f"tasks.{name}.label: no label file of any cohort (looked for {files[0]}, {places[0]}/); correct it"
