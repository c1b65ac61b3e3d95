"""Training and evaluation from Python, as the command line does them; `clintune` exports them.

Nothing here imports torch before a recipe, or a run, was found right.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from clintune.config.compose import compose_recipe
from clintune.config.moved import ANALYSES, moved
from clintune.config.overrides import quoted
from clintune.config.recipes import find_recipe
from clintune.core.errors import ConfigError
from clintune.core.files import read_json
from clintune.experiment.resume import run_config
from clintune.launch.signals import restored_signal_handlers
from clintune.launch.status import read_status
from clintune.training.launch import start
from clintune.verbs.arguments import run_folder
from clintune.verbs.beforehand import check_beforehand, check_folders, check_runs
from clintune.verbs.evaluate import evaluate_held


class Run:
    """A run, known by its folder; `clintune.load(run)` gives the model."""

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        """Open the folder of a run; ConfigError where it holds no run."""
        self.folder: Path = run_folder(os.fspath(folder))

    def __fspath__(self) -> str:
        return str(self.folder)

    def __repr__(self) -> str:
        status = read_status(self.folder)
        words = ["not trained" if status is None else status.state]
        words += ["evaluated"] if (self.folder / "metrics.json").is_file() else []
        return f"Run({self.folder}: {', '.join(words)})"

    @property
    def metrics(self) -> dict[str, Any]:
        """Return the metrics of `evaluate`; ConfigError where the run was not evaluated."""
        path = self.folder / "metrics.json"
        if not path.is_file():
            raise ConfigError(f"{self.folder}: not evaluated; call evaluate() first")
        found: dict[str, Any] = read_json(path)
        return found

    def evaluate(
        self,
        *,
        bootstrap: int = 1000,
        ablations: bool = True,
        against: str | os.PathLike[str] | None = None,
        evaluation: Sequence[str] | None = None,
    ) -> dict[str, Any]:
        """Score the run on its held-out subjects; print and return the content of `metrics.json`.

        `bootstrap` is the number of resamples for the intervals, `against` another evaluated run to
        compare with, `evaluation` the analyses, where not those of the recipe. Predictions, metrics
        and the report are written to the run folder. Raises ConfigError and PackageError where data
        or models are missing, and DataError where nobody is held out.
        """
        other = None if against is None else run_folder(os.fspath(against))
        words = [] if evaluation is None else [f"{ANALYSES}={_text(evaluation)}"]
        config = moved(run_config(self.folder), words, "evaluate")
        check_folders(config, "evaluate")

        evaluate_held(
            self.folder,
            config,
            replicates=bootstrap,
            ablate_modalities=ablations,
            against=other,
            places=words,
        )
        return self.metrics


def train(recipe: str | os.PathLike[str], **overrides: Any) -> Run:
    """Fine-tune the model of a recipe; return the run.

    `recipe` is the name of a recipe, or the path of your own. `overrides` are those of the command
    line: `train("quickstart", trainer={"max_steps": 20})`, or with dots,
    `train("quickstart", **{"trainer.max_steps": 20})`. Raises ConfigError for a key or value that
    no recipe takes and for what this machine lacks, DataError for data that break the contract, and
    StoppedError after a signal.
    """
    config = compose_recipe(find_recipe(os.fspath(recipe)), list(override_words(overrides)))
    check_beforehand(config)
    check_runs(config.runs, make=True)
    with restored_signal_handlers():
        (folder,) = start([config], None, wait=config.cluster.kind == "slurm")
    return Run(folder)


def override_words(overrides: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """Yield the overrides of a nested mapping in the grammar of the command line."""
    for key, value in overrides.items():
        if isinstance(value, Mapping):
            yield from override_words(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}={_text(value)}"


def _text(value: Any) -> str:
    """Return a value in the grammar of overrides; ConfigError for a type that no recipe takes."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, str | os.PathLike):
        return quoted(os.fspath(value))
    if isinstance(value, Sequence):
        return f"[{','.join(map(_text, value))}]"
    kind = type(value).__name__
    raise ConfigError(f"a {kind} is no value of a recipe; give numbers, texts, lists and mappings")
