"""Trials of a benchmark as if they had run: made-up predictions of two tasks, and their folder."""

import json
from datetime import datetime

import numpy as np

from clintune.benchmark.method_result import predictions_folder
from clintune.benchmark.trials import Trial
from clintune.contracts import Predictions
from clintune.evaluation.predictions import write_predictions
from clintune.tasks.binary import Binary

N = 60
TASKS = {"icu": Binary(label="icu"), "death": Binary(label="death")}
ABOUT = {
    "fit_seconds": 2.0,
    "predict_seconds": 1.0,
    "peak_mb": 100.0,
    "parameters": 3,
    "tasks": {
        name: {
            "config": {"_target_": "clintune.tasks.binary.Binary", "label": name},
            "state": task.state(),
        }
        for name, task in TASKS.items()
    },
}


def predict(seed, noise, shuffled=False):
    """Return predictions of each task; with `shuffled`, the folds are those of the seed."""
    targets = (np.random.default_rng(9).random((2, N, 1)) < 0.4).astype(np.float32)
    rng = np.random.default_rng([seed, int(100 * noise)])
    fold = np.random.default_rng(seed if shuffled else 0).permutation(N) % 3

    found = {}
    for name, target in zip(TASKS, targets, strict=True):
        risks = 0.3 + 0.4 * target + noise * rng.standard_normal((N, 1))
        found[name] = Predictions(
            cohort=np.array(["a"] * N),
            subject_id=np.arange(N) // 2,
            prediction_time=[datetime(2020, 1, 1 + i % 2) for i in range(N)],
            fold=fold[np.arange(N) // 2],
            targets=target,
            predicted=np.clip(risks, 0, 1).astype(np.float32),
        )
    return found


def written(folder, method, seed, noise, **changes):
    """Write a finished trial; return its folder and what it is."""
    trial = Trial(experiment="e", level="", method=method, seed=seed, missing=(0.0,), config=None)
    place = folder / f"{method}-{seed}"
    for name, part in predict(seed, noise).items():
        write_predictions(predictions_folder(place, 0.0), name, part, TASKS[name])
    (place / "trial.json").write_text(json.dumps({**ABOUT, "seed": seed, "run": None, **changes}))
    return place, trial
