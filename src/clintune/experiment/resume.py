"""Resume a run: what may change, and who holds the run meanwhile.

No torch here.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from hashlib import sha256
from pathlib import Path
from typing import Any

from clintune import __version__
from clintune.config.compose import load_config
from clintune.config.schema import Config
from clintune.config.typed import to_yaml
from clintune.core.errors import ConfigError, PackageError
from clintune.core.files import file_sha256, read_json, sweep_leftovers, write_json, write_text
from clintune.core.locks import refused_if_held
from clintune.core.paths import writable_folder
from clintune.launch.processes import is_main
from clintune.launch.status import read_status
from clintune.package.manifest import MANIFEST

AT_ANY_TIME = (
    "runs",
    "evaluation",
    "cluster",
    "strategy",
    "tracker.*",
    "data.cache",
    "data.cache_limit_gb",
    "data.max_bad_fraction",
    "cohorts.*.root",
    "cohorts.*.storage",
    "trainer.workers",
    "trainer.micro_batch_size",
    "trainer.micro_batch_tokens",
    "trainer.checkpoint_every",
)
"""Keys that say where and how a run computes; they change no result beyond rounding and draws."""
FOR_STEPS_TO_COME = (
    "trainer.max_steps",
    "trainer.epochs",
    "trainer.lr",
    "trainer.head_lr",
    "trainer.weight_decay",
    "trainer.warmup",
    "trainer.schedule",
    "trainer.clip",
    "trainer.patience",
    "trainer.tune_every",
    "trainer.precision",
)
"""Keys that may change as long as no model of the run is finished.

They change results from the checkpoint on. All other keys stay.
"""

Changes = dict[str, tuple[Any, Any]]
"""Value before, and value now, of each key that differs."""


@contextmanager
def held(run: Path, doing: str) -> Iterator[None]:
    """Hold a run for this job while it is `doing`, as in "trained".

    The main process holds it for the others, and first removes what killed processes left there.
    Raises ConfigError, which names the process, if another job holds the run, and if its folder
    cannot be written to.
    """
    if not is_main():
        yield
        return
    writable_folder(str(run), "run folder")
    with refused_if_held(run / "run", doing):
        sweep_leftovers(run)
        yield


def run_config(run: Path) -> Config:
    """Return the config of a run.

    Raises ConfigError if its recipe is not as a job wrote it, or cannot be read.
    """
    path = run / "recipe.yaml"
    config = load_config(path)
    if (run / "provenance.json").exists():
        record = read_json(run / "provenance.json")
        parts = (record, *record.get("resumed", []))
        written = {part.get("recipe_sha256") for part in parts} - {None}
        if written and file_sha256(path) not in written:
            raise ConfigError(
                f"{path}: is not as the run wrote it; "
                "restore it, and give changes in the command, as KEY=VALUE"
            )
    return config


def check_trained(run: Path) -> None:
    """Raise PackageError for a run that has no record of a training."""
    if not (run / "provenance.json").is_file():
        raise PackageError(f"{run}: was not trained; go on with `clintune train --resume {run}`")


def is_finished(run: Path, config: Config) -> bool:
    """Return whether a run ended well and every model that it trained still has its package."""
    status = read_status(run)
    folds = [run] if config.cv is None else list((run / "folds").glob("*-*"))
    num_packages = [len(list((fold / "package").rglob(MANIFEST))) for fold in folds]
    return (
        status is not None
        and status.state == "done"
        and min(num_packages, default=0) >= config.ensemble
    )


def check_changes(run: Path, before: Config, now: Config) -> Changes:
    """Return what a resume changes in the recipe of a run.

    Raises ConfigError that names the keys that cannot change: those with which the model was built,
    and, once a model is finished, all on which results depend.
    """
    # Nothing that results depend on may change in a finished run.
    changes = changes_between(before, now)
    results = sorted(key for key in changes if not _listed(key, AT_ANY_TIME))
    if results and is_finished(run, before):
        raise ConfigError(
            f"--resume: the run is finished, and {', '.join(results)} would change it; train anew"
        )

    # A run that has begun may change what concerns steps to come.
    if fixed := [key for key in results if not _listed(key, FOR_STEPS_TO_COME)]:
        raise ConfigError(
            f"--resume: {', '.join(fixed)} cannot change in a run that has begun; train anew "
            "(docs/run_folder.md lists what can)"
        )
    if results and (done := next(run.rglob("package"), None)):
        where = done.relative_to(run)
        raise ConfigError(
            f"--resume: {', '.join(results)} cannot change once a model is trained ({where}); "
            "train anew"
        )

    # More steps must be more than those trained.
    steps, trained = now.trainer.max_steps, trained_steps(run)
    if "trainer.max_steps" in changes and steps is not None and steps <= trained:
        raise ConfigError(
            f"--resume: trainer.max_steps={steps} is not more than the {trained} steps trained; "
            "raise it"
        )
    return changes


def changes_between(before: Config, now: Config) -> Changes:
    """Return the keys in which two configs differ, and both values; None stands for no key."""
    one, two = (dict(leaves(asdict(config))) for config in (before, now))
    return {
        key: (one.get(key), two.get(key)) for key in {**one, **two} if one.get(key) != two.get(key)
    }


class Resumption:
    """The record that a run keeps of a resume: since which step, and with what changes."""

    def __init__(self, run: Path, config: Config) -> None:
        self.run = run
        self.config = config
        self.kept = False

    def keep(self, part: str, step: int) -> None:
        """Write it into provenance.json, and then the recipe, once for all models of the run.

        This is called once the first checkpoint was found to fit, so that the recipe is always one
        with which the run can go on.
        """
        if self.kept:
            return

        path, recipe = self.run / "provenance.json", self.run / "recipe.yaml"
        record = read_json(path)
        changes, text = changes_between(run_config(self.run), self.config), to_yaml(self.config)

        resumed = {
            "time": datetime.now(UTC).isoformat(timespec="seconds"),
            "clintune": __version__,
            "part": part,
            "step": step,
            "changes": {key: {"before": was, "now": now} for key, (was, now) in changes.items()},
            "recipe_sha256": sha256(text.encode()).hexdigest() if changes else file_sha256(recipe),
        }

        write_json(path, record | {"resumed": [*record.get("resumed", []), resumed]})
        if changes:
            write_text(recipe, text)
        self.kept = True


def changes_in_words(provenance: Mapping[str, Any]) -> list[str]:
    """Return a sentence for each resume of a run with settings that change results."""
    sentences = []
    for resumed in provenance.get("resumed", []):
        settings = ", ".join(
            f"{key} {change['now']} (before: {change['before']})"
            for key, change in resumed["changes"].items()
            if not _listed(key, AT_ANY_TIME)
        )
        if settings:
            where = " of ".join(filter(None, [f"step {resumed['step']}", resumed["part"]]))
            sentences.append(f"After {where} training went on with other settings: {settings}.")
    return sentences


def leaves(node: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the values of a config with their dotted keys; a list is one value."""
    if not isinstance(node, Mapping) or (not node and path):
        yield path, node
        return
    for key, value in node.items():
        yield from leaves(value, f"{path}.{key}" if path else str(key))


def _listed(key: str, patterns: tuple[str, ...]) -> bool:
    return any(
        fnmatchcase(key, pattern) or fnmatchcase(key, f"{pattern}.*") for pattern in patterns
    )


def trained_steps(run: Path) -> int:
    """Return the most steps that a checkpoint of the run holds."""
    found = run.rglob("checkpoints/**/step-*[0-9]")
    # A hidden folder holds a checkpoint that a killed process was writing.
    written = (path for path in found if not path.parent.name.startswith("."))
    return max((int(path.name[5:]) for path in written), default=0)
