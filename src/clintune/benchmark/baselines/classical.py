"""Classical methods on what the recipe's own frozen encoders see.

They follow HAIM (Soenksen et al., npj Digit Med 2022). They have the samples, folds, features and
labels of the recipe; everything is fitted on the training rows of each fold.
"""

import time
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from meds.schema import train_split
from numpy.typing import NDArray

from clintune.benchmark.baselines.features import Read, embeddings, nothing, texts
from clintune.benchmark.baselines.learners import FITS, Examples, Fit, Fitted
from clintune.benchmark.held_out import concatenate_by_share, held_out_folds
from clintune.benchmark.method_names import split_name
from clintune.benchmark.method_result import MethodResult
from clintune.benchmark.missing import thinned
from clintune.cohort.samples import Samples
from clintune.config.schema import Config
from clintune.contracts import Predictions
from clintune.core.errors import ConfigError
from clintune.evaluation.predict import to_predictions
from clintune.experiment.fold_data import FoldData
from clintune.experiment.open import Experiment, open_experiment
from clintune.tasks.base import Task
from clintune.tasks.questions import Question


def predict_baseline(config: Config, method: str, missing: Sequence[float]) -> MethodResult:
    """Fit a baseline in every fold and predict the held-out samples.

    Raises ConfigError where the recipe has nothing that the baseline reads, DataError when no
    sample is held out.
    """
    experiment = open_experiment(config)
    samples = experiment.samples
    parts: dict[float, dict[str, list[Predictions]]] = {share: {} for share in missing}
    fit_seconds = predict_seconds = 0.0

    for number, ready, rows in held_out_folds(experiment):
        began = time.perf_counter()
        fitted = FittedFold(experiment, ready, method)
        done = time.perf_counter()

        for share, by_task in parts.items():
            reduced = thinned(samples, share, config.seed)
            for task, chances in fitted.predict(reduced, rows).items():
                part = to_predictions(samples, rows, task, chances, number, config.per_subject)
                by_task.setdefault(task, []).append(part)
        fit_seconds += done - began
        predict_seconds += time.perf_counter() - done

    return MethodResult(
        predictions=concatenate_by_share(parts),
        tasks=experiment.tasks,
        fit_seconds=fit_seconds,
        predict_seconds=predict_seconds,
        parameters=fitted.parameters,
    )


class FittedFold:
    """A baseline fitted on the training samples of a fold, for every task."""

    def __init__(self, experiment: Experiment, ready: FoldData, method: str) -> None:
        config, samples, rows = experiment.config, experiment.samples, ready.rows[train_split]
        self.tasks = ready.tasks
        self.read = _reader(ready, method)
        everyone = Examples(
            inputs=self.read(samples, rows),
            answers=np.zeros(len(rows), np.int64),
            subject=samples.subject[rows],
            by_subject=config.per_subject,
        )

        fit = FITS[split_name(method)[0]]
        self.fitted: dict[str, list[Fitted]] = {}
        for name, task in ready.tasks.items():
            targets, questions = samples.targets(name)[rows], questions_of(name, task)
            self.fitted[name] = fit_task(fit, everyone, targets, questions, config.seed)

    @property
    def parameters(self) -> int | None:
        """Return how many weights all tasks have together, None where some are no weights."""
        each = [one.parameters for several in self.fitted.values() for one in several]
        known = [number for number in each if number is not None]
        return sum(known) if len(known) == len(each) else None

    def predict(self, samples: Samples, rows: NDArray[np.int64]) -> dict[str, NDArray[np.float32]]:
        """Return the predictions [N, P] of each task for the samples `rows`."""
        inputs = self.read(samples, rows)
        found = {}
        for name, questions in self.fitted.items():
            columns = []
            for fitted, question in zip(questions, self.tasks[name].questions, strict=True):
                chances = fitted.predict(inputs)
                columns.append(chances if question.is_multiclass else chances[:, 1:])
            found[name] = np.concatenate(columns, axis=1).astype(np.float32)
        return found


def questions_of(name: str, task: Task) -> Sequence[Question]:
    """Return the questions of a task.

    Raises ConfigError where it has none, as a task that answers with a value.
    """
    if not task.questions:
        raise ConfigError(
            f"tasks.{name}: baselines answer yes-or-no questions and classes; take them out of "
            "the suite"
        )
    return task.questions


def fit_task(
    fit: Fit,
    everyone: Examples,
    targets: NDArray[np.float32],
    questions: Sequence[Question],
    seed: int,
) -> list[Fitted]:
    """Fit each question of a task on the samples whose answer, in the targets [N, T], is known."""
    fitted = []
    for question in questions:
        column = targets[:, question.column]
        known = ~np.isnan(column)
        examples = replace(everyone.take(known), answers=column[known].astype(np.int64))
        fitted.append(fit(examples, len(question.answers), seed))
    return fitted


def _reader(ready: FoldData, method: str) -> Read:
    name, modality = split_name(method)
    if name == "prevalence":
        return nothing
    return texts(ready) if name == "tfidf" else embeddings(ready, modality)
