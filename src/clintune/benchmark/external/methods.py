"""Other libraries on the same samples, folds and seeds, as their users would run them.

Each yes-or-no question of each fold is a table of rows (`rows.py`) that the peer's own Python fits
and answers (`scripts/run.py`). Its folder holds patients' text: no one else may read it, and it
goes with the process.
"""

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from meds.schema import held_out_split, train_split, tuning_split
from numpy.typing import NDArray

from clintune.benchmark.external.home import RUN, not_installed, peer_python, peer_script
from clintune.benchmark.external.images import ImageFiles
from clintune.benchmark.external.rows import PeerRows, informative
from clintune.benchmark.external.weights import image_model, text_model
from clintune.benchmark.held_out import concatenate_by_share, held_out_folds
from clintune.benchmark.method_result import MethodResult
from clintune.benchmark.missing import thinned
from clintune.cohort.splits import assign_balanced
from clintune.config.schema import Config
from clintune.contracts import Predictions
from clintune.core.errors import ConfigError, TrainingError
from clintune.core.seeding import derive_seed
from clintune.evaluation.predict import to_predictions
from clintune.experiment.fold_data import FoldData
from clintune.experiment.open import Experiment, open_experiment
from clintune.launch.signals import install_signal_handlers

Floats = NDArray[np.float32]
_TUNING_FOLDS = 5
"""One in so many training subjects is kept to stop by, where the recipe has no tuning split."""
_ANOTHERS = ("PYTHON", "SLURM_")
"""Beginnings of variables that are about this process and its job, not a peer's."""
_HOMES = (
    "HOME",
    "TMPDIR",
    "XDG_CACHE_HOME",
    "XDG_CONFIG_HOME",
    "HF_HOME",
    "TORCH_HOME",
    "MPLCONFIGDIR",
)
"""Variables that say where a library writes."""


def predict_peer(
    config: Config, method: str, missing: Sequence[float], seconds: float
) -> MethodResult:
    """Fit every yes-or-no question in every fold with a peer, and predict the held-out samples.

    Each fit takes at most `seconds`. Raises ConfigError for another kind of task, or where the peer
    is not installed or reads nothing of what the recipe has; DataError when no sample is held out;
    TrainingError when the peer fails.
    """
    install_signal_handlers()  # a signal ends the peer and removes its folder
    python = peer_python(method)
    if python is None:
        raise ConfigError(not_installed(method))
    experiment = open_experiment(config)
    parts: dict[float, dict[str, list[Predictions]]] = {share: {} for share in missing}

    with tempfile.TemporaryDirectory(prefix="clintune-peer-") as folder:
        peer = Peer(method, python, Path(folder), config.seed, seconds)
        for number, ready, rows in held_out_folds(experiment):
            for task, by_share in _predict_fold(peer, experiment, ready, missing).items():
                for share, chances in by_share.items():
                    part = to_predictions(
                        experiment.samples, rows, task, chances, number, config.per_subject
                    )
                    parts[share].setdefault(task, []).append(part)

    return MethodResult(
        predictions=concatenate_by_share(parts),
        tasks=experiment.tasks,
        fit_seconds=peer.fit_seconds,
        predict_seconds=peer.predict_seconds,
        parameters=peer.parameters,
        library=peer.library,
    )


def _predict_fold(
    peer: "Peer", experiment: Experiment, ready: FoldData, missing: Sequence[float]
) -> dict[str, dict[float, Floats]]:
    """Return the probabilities [N, O] of the held-out samples by task and share missing."""
    samples, rows = experiment.samples, ready.rows[held_out_split]
    known = np.concatenate([ready.rows[train_split], ready.rows[tuning_split]])
    tuning = np.arange(len(known)) >= len(ready.rows[train_split])

    for name, task in ready.tasks.items():
        if not task.questions or any(question.is_multiclass for question in task.questions):
            raise ConfigError(
                f"tasks.{name}: peers answer yes-or-no questions only; take {peer.name} out of "
                "the suite"
            )

    # Read the rows to learn of, and the held-out rows at each share missing.
    peer.begin(ready)
    reader = PeerRows(ready, peer.images)
    learnt = reader.read(samples, known)
    learnt = learnt.select(informative(learnt))
    reduced = [thinned(samples, share, experiment.config.seed) for share in missing]
    asked = pl.concat([reader.read(some, rows).select(learnt.columns) for some in reduced])

    # Ask each question once for all shares.
    found = {}
    for name in ready.tasks:
        columns = [
            peer.answer(learnt, answers, samples.subject[known], tuning, asked)
            for answers in samples.targets(name)[known].T
        ]
        table = np.stack(columns, axis=1).astype(np.float32)
        found[name] = dict(zip(missing, np.split(table, len(missing)), strict=True))
    return found


@dataclass
class Peer:
    """A peer at work in `folder`, and what it has cost so far.

    `weights` counts those that trained for each question of the last fold; `library` is its name
    and version.
    """

    name: str
    python: Path
    folder: Path
    seed: int
    seconds: float
    fit_seconds: float = 0.0
    predict_seconds: float = 0.0
    weights: list[int] = field(default_factory=list)
    library: str | None = None
    models: dict[str, str | None] | None = None

    def __post_init__(self) -> None:
        (self.folder / "images").mkdir()
        self.images = ImageFiles(self.folder / "images")

    @property
    def parameters(self) -> int:
        """Return how many weights the questions of a fold have together."""
        return sum(self.weights)

    def begin(self, ready: FoldData) -> None:
        """Begin a fold; before the first, put the pretrained weights where the peer reads."""
        self.weights = []
        self.models = self.models or {
            "text_model": text_model(ready.modalities),
            "image_model": image_model(ready.modalities, self.folder / "image_model"),
        }

    def answer(
        self,
        learnt: pl.DataFrame,
        answers: Floats,
        subject: NDArray[np.int64],
        tuning: NDArray[np.bool_],
        asked: pl.DataFrame,
    ) -> NDArray[np.float64]:
        """Fit the rows whose answer is known; return the probability of yes for each `asked` row.

        `learnt` [N, W], `answers` [N] (NaN: unknown), `subject` [N] and `tuning` [N] are of one
        fold; `asked` has M rows. Raises TrainingError where a probability is missing or not finite.
        """
        known = ~np.isnan(answers)
        yes = answers[known]
        if len(np.unique(yes)) < 2:  # nothing to tell apart
            return np.full(len(asked), yes.mean() if len(yes) else 0.5)

        kept = tuning[known] if tuning[known].any() else _to_stop_by(yes, subject[known], self.seed)
        split = pl.Series(np.where(kept, tuning_split, train_split), dtype=pl.String)
        to_fit = learnt.filter(known).with_columns(split=split, label=pl.Series(yes))
        held_out, no_label = pl.lit(held_out_split), pl.lit(None, pl.Float32)
        to_ask = asked.with_columns(split=held_out, label=no_label)

        figures = self._run(pl.concat([to_fit, to_ask]))
        self.fit_seconds += figures["fit_seconds"]
        self.predict_seconds += figures["predict_seconds"]
        self.weights.append(figures["parameters"])
        self.library = figures["library"]

        answered = pl.read_parquet(self.folder / "probabilities.parquet", glob=False)
        chances = answered["probability"].to_numpy().astype(np.float64)
        if chances.shape != (len(asked),) or not np.isfinite(chances).all():
            raise TrainingError(f"{self.name} did not answer every row with a probability")
        return chances

    def _run(self, rows: pl.DataFrame) -> dict[str, Any]:
        """Run the peer's Python on the rows; return what it says of the fit."""
        work = self.folder / "work"
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir()
        (self.folder / "result.json").unlink(missing_ok=True)
        rows.write_parquet(self.folder / "rows.parquet")
        settings = {"seed": self.seed, "seconds": self.seconds, **(self.models or {})}
        (self.folder / "settings.json").write_text(json.dumps(settings), encoding="utf-8")

        # What it says may hold patients' text, and goes to the log of this process only where that
        # was asked for.
        said = 2 if os.environ.get("CLINTUNE_DEBUG") else subprocess.DEVNULL
        pipe, env = subprocess.PIPE, _environment(work)
        words = [str(self.python), "-I", str(RUN), str(peer_script(self.name)), str(self.folder)]
        with subprocess.Popen(
            words, stdin=pipe, stdout=said, stderr=said, cwd=work, env=env
        ) as process:
            try:
                code = process.wait()
            except BaseException:
                process.kill()
                raise
        return self._figures(code)

    def _figures(self, code: int) -> dict[str, Any]:
        """Return what the peer's process left of its fit, after it ended with `code`."""
        result = self.folder / "result.json"
        text = result.read_text(encoding="utf-8") if result.exists() else "{}"
        figures: dict[str, Any] = json.loads(text)
        if code:
            what = f"killed by signal {-code}" if code < 0 else f"ended with code {code}"
            kind = f" ({figures['kind']})" if "kind" in figures else ""
            raise TrainingError(
                f"{self.name} {what}{kind}; what it said is withheld because it may hold patient "
                "data: run again with CLINTUNE_DEBUG=1 to have it in the log of the trial, "
                "below logs/"
            )

        if not figures["reads"]:
            raise ConfigError(
                f"{self.name} reads none of what this recipe has; take it out of the suite"
            )
        return figures


def _to_stop_by(yes: Floats, subject: NDArray[np.int64], seed: int) -> NDArray[np.bool_]:
    """Return which training rows [N] are kept to stop by: some subjects, balanced.

    None are kept where too few say yes, or no.
    """
    distinct, number = np.unique(subject, return_inverse=True)
    draws = np.random.default_rng(derive_seed(seed, "peer tuning")).random(len(distinct))
    kept: NDArray[np.bool_] = assign_balanced(number, draws, _TUNING_FOLDS, yes) == 0
    if len(np.unique(yes[kept])) == len(np.unique(yes[~kept])) == 2:
        return kept
    return np.zeros(len(yes), bool)


def _environment(work: Path) -> Mapping[str, str]:
    """Return the variables of a peer: nothing is fetched, and nothing written outside `work`."""
    own = {name: value for name, value in os.environ.items() if not name.startswith(_ANOTHERS)}
    homes = dict.fromkeys(_HOMES, str(work))
    return {**own, **homes, "HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
