"""The process of one trial: read a spec, fit, write the predictions, answer with the costs."""

import json
import os
import signal
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from clintune import __version__
from clintune.benchmark.baselines.classical import predict_baseline
from clintune.benchmark.external.methods import predict_peer
from clintune.benchmark.finetuned import predict_finetuned
from clintune.benchmark.method_names import PEERS, is_own
from clintune.benchmark.method_result import predictions_folder
from clintune.config.modules import use_modules
from clintune.config.schema import Config
from clintune.config.typed import of_plain
from clintune.core.files import value_sha256
from clintune.evaluation.predictions import write_predictions
from clintune.experiment.fold_data import precompute_pieces
from clintune.experiment.folds import folds, rows_by_split, split_of
from clintune.experiment.open import open_experiment
from clintune.experiment.provenance import provenance
from clintune.launch.device import local_device
from clintune.launch.memory import peak_memory_mb
from clintune.model.build import build_modalities, fit_statistics, make_modalities


def answer(questions: TextIO, answers: TextIO) -> None:
    """Do what the spec on the first line of `questions` asks for; write the result to `answers`.

    Both are JSON. The process ends with whoever asked.
    """
    spec = json.loads(questions.readline())
    threading.Thread(target=_end_with, args=(questions,), daemon=True).start()
    config = of_plain(Config, spec["config"])
    use_modules(config.modules)
    json.dump(_work(config, spec) if "method" in spec else _prepare(config), answers)
    answers.flush()


def _work(config: Config, spec: Mapping[str, Any]) -> dict[str, Any]:
    """Fit and predict one trial; write the held-out predictions by share, and return the rest."""
    method, missing = spec["method"], spec["missing"]
    if is_own(method):
        result = predict_finetuned(config, Path(spec["run"]), missing)
    elif method in PEERS:
        result = predict_peer(config, method, missing, spec["peer_seconds"])
    else:
        result = predict_baseline(config, method, missing)

    for share, by_task in result.predictions.items():
        folder = predictions_folder(Path(spec["folder"]), share)
        for name, predictions in by_task.items():
            write_predictions(folder, name, predictions, result.tasks[name])

    fitted = {
        name: {"config": config.tasks[name], "state": task.state()}
        for name, task in result.tasks.items()
    }
    return {
        "fit_seconds": result.fit_seconds,
        "predict_seconds": result.predict_seconds,
        "parameters": result.parameters,
        "peak_mb": peak_memory_mb(),
        "clintune": __version__,
        "library": result.library,
        "tasks": fitted,
    }


def _prepare(config: Config) -> dict[str, Any]:
    """Compute what all trials of an experiment share; return the fingerprint of its tables.

    The fingerprint does not depend on where the tables are.
    """
    experiment = open_experiment(config)
    samples = experiment.samples
    split = split_of(config, samples, folds(config, Path(), samples)[0])
    train, labelled = rows_by_split(split)["train"], np.flatnonzero(samples.labelled())

    modalities = make_modalities(config.modalities)
    statistics = fit_statistics(modalities, samples, train, experiment.cache)
    build_modalities(modalities, statistics, config.seed)
    precompute_pieces(experiment, modalities, statistics, labelled, local_device())

    cohorts = provenance(experiment)["cohorts"]
    return {"data": value_sha256({name: cohort["files"] for name, cohort in cohorts.items()})}


def _end_with(questions: TextIO) -> None:
    """Ask this process to stop once nobody can ask any more."""
    questions.read()
    os.kill(os.getpid(), signal.SIGTERM)
