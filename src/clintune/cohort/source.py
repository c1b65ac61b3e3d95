"""Where a cohort comes from: a folder, a URL, or a function that its config names as `source`."""

import functools
import hashlib
import inspect
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from hydra.utils import instantiate

from clintune.cohort.checks import no_folder
from clintune.cohort.listing import files_below
from clintune.cohort.mirror import open_mirror
from clintune.config.schema import Cohort
from clintune.core.errors import ConfigError, DataError
from clintune.core.files import atomic_path, file_signature, value_sha256, write_json
from clintune.core.locks import exclusive_lock
from clintune.storage.cache_entries import WRITTEN
from clintune.storage.cache_folder import mark_used
from clintune.storage.remote import is_remote, redact


def open_root(name: str, cohort: Cohort, cache: Path, beside: Sequence[str] = ()) -> Path:
    """Return the local folder of a cohort, after its `source` wrote it or its URL was fetched.

    What is fetched stands below `cache`. `beside` names tables that are read beside the cohort's
    own, relative to its root. Raises ConfigError for a URL with a source, and DataError as
    `ensure_cohort` and `open_mirror` do.
    """
    if not is_remote(cohort.root):
        return ensure_cohort(name, cohort)

    key = f"cohorts.{name}.root"
    if cohort.source is not None:
        raise ConfigError(
            f"{key}: a `source` cannot write to {redact(cohort.root)}; name a local folder, "
            "or drop it"
        )
    return open_mirror(key, cohort.root, cohort.storage or {}, cache, beside)


def ensure_cohort(name: str, cohort: Cohort) -> Path:
    """Return the root of a cohort; write it first where it is missing or its inputs have changed.

    A source is a function `f(root, **settings)` that writes a whole cohort to `root`. A setting
    `raw` names the file or folder that it reads, which counts as input. Raises DataError for a root
    that is missing and has no source, and for one that holds files which no source wrote: these are
    never replaced.
    """
    root = Path(cohort.root).expanduser().resolve()
    if cohort.source is None:
        if not root.is_dir():
            raise DataError(str(no_folder(name, root)))
        return root

    write: functools.partial[None] = instantiate(cohort.source, _partial_=True, _convert_="all")

    # The inputs: the source itself, its settings, and the raw files.
    settings = dict(write.keywords)
    if "raw" in settings:
        settings["raw"] = Path(settings["raw"]).expanduser()

    root.parent.mkdir(parents=True, exist_ok=True)
    with exclusive_lock(root.with_name(f".{root.name}"), f"the cohort {name}"):
        source, raw = _source_digest(write.func, settings), _raw_digest(settings.get("raw"))
        wanted = {"source": source, "raw": raw}
        if not _is_current(name, root, wanted):
            with atomic_path(root) as partial:
                write.func(partial, **settings)
                write_json(partial / WRITTEN, wanted)
        mark_used(root)
    return root


def _source_digest(function: Callable[..., Any], settings: dict[str, Any]) -> str:
    """Hash a function's file and settings: an importer that changed writes another cohort."""
    file = inspect.getsourcefile(function)
    code = hashlib.sha256(Path(file).read_bytes()).hexdigest() if file else ""
    return value_sha256([f"{function.__module__}.{function.__qualname__}", code, settings])


def _raw_digest(raw: Path | None) -> str | None:
    """Hash names, sizes and times of the raw files; None where there are none, or none any more."""
    if raw is None or not raw.exists():
        return None
    files = file_signature(files_below(raw) if raw.is_dir() else [raw])
    named = ((Path(path).relative_to(raw).as_posix(), *touched) for path, *touched in files)
    return value_sha256(list(named))


def _is_current(name: str, root: Path, wanted: dict[str, str | None]) -> bool:
    """Return whether the source wrote the cohort from these inputs; see `ensure_cohort`."""
    if not root.exists() or not any(root.iterdir()):
        return False
    file = root / WRITTEN
    if not file.exists():
        raise DataError(
            f"cohorts.{name}.root: {root} holds files no source wrote; "
            "use another root or drop `source`"
        )

    # Raw files that are gone leave nothing to compare with, and nothing to write from.
    written = json.loads(file.read_text(encoding="utf-8"))
    if wanted["raw"] is None:
        return bool(written["source"] == wanted["source"])
    return bool(written == wanted)
