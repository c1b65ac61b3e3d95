"""Models of clintune's own: trained as any run, predicted as `evaluate` does."""

import shutil
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from meds.schema import held_out_split

from clintune.benchmark.method_result import MethodResult
from clintune.benchmark.missing import thinned
from clintune.config.parts import modules_of
from clintune.config.schema import Config
from clintune.core.errors import DataError
from clintune.evaluation.collect import predict_run, whole
from clintune.evaluation.context import WHOLE, ByTask
from clintune.experiment.folds import folds
from clintune.experiment.open import Experiment, open_experiment
from clintune.experiment.resume import run_config
from clintune.launch.device import make_accelerator
from clintune.launch.status import read_status
from clintune.model.build import parameters_of
from clintune.package.load import load_package
from clintune.package.members import trained_members
from clintune.training.run import train_run


def predict_finetuned(config: Config, run: Path, missing: Sequence[float]) -> MethodResult:
    """Train the run of a config in the folder `run`, and predict its held-out samples.

    A run that was begun goes on. Its checkpoints are removed at the end, since its packages are
    there. Raises DataError when no sample is held out.
    """
    run.mkdir(parents=True, exist_ok=True)
    train_run(config, run)
    status = read_status(run)
    assert status is not None

    # Predict at each share of missing modalities.
    began = time.perf_counter()
    experiment = open_experiment(run_config(run))
    accelerator = make_accelerator(experiment.config.trainer)
    request = whole(experiment.modalities)
    predictions: dict[float, ByTask] = {}
    for share in missing:
        reduced = replace(experiment, samples=thinned(experiment.samples, share, config.seed))
        by_variant = predict_run(run, reduced, [request], accelerator).get(held_out_split)
        if not by_variant:
            raise DataError(
                "no labelled sample is held out; check the splits of the recipe's cohorts"
            )
        predictions[share] = by_variant[WHOLE]

    seconds = time.perf_counter() - began
    for fold in folds(experiment.config, run, experiment.samples):
        shutil.rmtree(fold.folder / "checkpoints", ignore_errors=True)
    return MethodResult(
        predictions=predictions,
        tasks=experiment.tasks,
        fit_seconds=status.seconds,
        predict_seconds=seconds,
        parameters=_num_fitted(run, experiment),
    )


def _num_fitted(run: Path, experiment: Experiment) -> int:
    """Return how many weights of a member were fitted, by training, by the probe and its trees."""
    config = experiment.config
    fold = folds(config, run, experiment.samples)[0]
    folder = trained_members(fold.folder / "package", config.ensemble)[0]
    model = load_package(folder, trusted=modules_of(config)).model
    trained = 0 if config.trainer.max_steps == 0 else parameters_of(model)[0]
    if not model.probe:
        return trained
    for head in model.task_heads.values():
        trained += parameters_of(head.of_features)[1] + head.of_query.out_features
        trained += 0 if head.trees is None else int(head.trees.value.count_nonzero())
    return trained
