"""Record what a run was made of: versions, machine, input files, data fingerprints."""

import platform
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from clintune import __version__
from clintune.cohort.labels import FOLDERS
from clintune.cohort.listing import files_below
from clintune.cohort.seal import table_hashes
from clintune.cohort.shards import find_shards
from clintune.config.parts import modules_of
from clintune.config.schema import Config
from clintune.core.console import console
from clintune.core.files import file_sha256, read_json, value_sha256
from clintune.core.problems import Problem, raise_first
from clintune.core.text import visible
from clintune.experiment.open import Experiment

_PACKAGES = (
    "torch",
    "transformers",
    "peft",
    "accelerate",
    "datasets",
    "timm",
    "polars",
    "numpy",
    "hydra-core",
    "meds",
)


def provenance(experiment: Experiment, recipe: Path | None = None) -> dict[str, Any]:
    """Return a JSON-able record of code, environment, config and data.

    Input files are named relative to their root. The hash of `recipe`, which the run wrote, is part
    of the record.
    """
    config, cache = experiment.config, experiment.cache
    cohorts = {}
    for index in experiment.samples.indexes:
        files = _files(index.root, cache)
        cohorts[index.name] = {"fingerprint": index.fingerprint, "files": files}

    return {
        "clintune": __version__,
        "commit": _commit(),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": ["clintune", *sys.argv[1:]],
        "config_sha256": config_sha256(config),
        "recipe_sha256": None if recipe is None else file_sha256(recipe),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
        "packages": {name: version(name) for name in _PACKAGES},
        "modules": _users_modules(config),
        "cohorts": cohorts,
    }


def check_data(run: Path, experiment: Experiment) -> None:
    """Refuse to go on with a run on other data than those with which it began; DataError."""
    raise_first(changed_tables(run, experiment))


def changed_tables(run: Path, experiment: Experiment) -> Iterator[Problem]:
    """Yield each table of a cohort that was changed, added or removed since the run began."""
    recorded = read_json(run / "provenance.json")["cohorts"]
    for index in experiment.samples.indexes:
        before, now = recorded[index.name]["files"], _files(index.root, experiment.cache)
        for name in sorted(before.keys() | now.keys()):
            if before.get(name) != now.get(name):
                what = f"is not as it was when {run.name} was trained"
                yield Problem(str(index.root / name), what, "restore it, or train anew")


def note_changed_modules(run: Path, config: Config) -> None:
    """Print which modules of the user's own were changed since the run began.

    They are not refused: a figure may be drawn otherwise, or a fault mended, after hours of work.
    """
    recorded, now = read_json(run / "provenance.json").get("modules", {}), _users_modules(config)
    for name in sorted(recorded.keys() | now.keys()):
        if recorded.get(name) != now.get(name):
            what = f"{visible(name)} is not as it was when {run.name} was trained"
            remedy = "unless only what is shown has changed, restore it or train anew"
            console.print(f"note: {what}; {remedy}", style="yellow")


def config_sha256(config: Config) -> str:
    """Return the hash of a config."""
    return value_sha256(asdict(config))


def _files(root: Path, cache: Path) -> dict[str, str]:
    """Return the hash of each table of a cohort; the piece cache hashes media files."""
    others = [path for folder in ("metadata", *FOLDERS) for path in files_below(root / folder)]
    return table_hashes(root, [*find_shards(root), *others], cache)


def _users_modules(config: Config) -> dict[str, str]:
    """Return the hash of each file of the modules that a config names beside clintune's own.

    A name is that of the file below the folder where Python found the module.
    """
    hashes: dict[str, str] = {}
    for name in modules_of(config):
        found = find_spec(name)
        if name == "clintune" or found is None or found.origin is None:
            continue
        path = Path(found.origin)
        files = path.parent.rglob("*.py") if found.submodule_search_locations else [path]
        home = path.parent.parent if found.submodule_search_locations else path.parent
        hashes |= {file.relative_to(home).as_posix(): file_sha256(file) for file in sorted(files)}
    return hashes


def _commit() -> str | None:
    """Return the commit of the checkout that runs, with + if it has changes; None without one."""
    here = Path(__file__).parent
    try:
        commit = subprocess.run(
            ["git", "rev-parse", "HEAD"], cwd=here, capture_output=True, text=True, check=True
        )
        # Without a lock: a run that is killed now must leave none in the checkout.
        status = ["git", "--no-optional-locks", "status", "--porcelain"]
        changed = subprocess.run(status, cwd=here, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return commit.stdout.strip() + ("+" if changed.stdout.strip() else "")
