"""What a run itself can say on its card: everything but a person's answers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from accelerate import Accelerator
from meds.schema import held_out_split as HELD_OUT
from meds.schema import tuning_split as TUNING

from clintune.contracts import Predictions
from clintune.core.files import read_json, value_sha256
from clintune.evaluation.disclosure import SMALLEST_SHOWN
from clintune.evaluation.intervals import Interval, intervals
from clintune.evaluation.predictions import RAW, read_predictions
from clintune.evaluation.scored import of_task, of_tasks
from clintune.evaluation.subgroups import by_group
from clintune.evaluation.subjects import count_labels, take
from clintune.experiment.folds import Fold, read_splits, rows_by_split
from clintune.experiment.open import Experiment
from clintune.package.calibrations import CALIBRATION, read_calibrations
from clintune.package.contents import Package
from clintune.publishing.cohort_table import CountRow, cohort_table
from clintune.publishing.energy import Compute, read_compute
from clintune.publishing.metadata import read_about
from clintune.publishing.operating_points import OperatingPoint, operating_points
from clintune.publishing.privacy.computed import only_checksums
from clintune.publishing.privacy.membership import membership_inference
from clintune.publishing.question_names import output_name
from clintune.tasks.base import Task
from clintune.tasks.calibration import Calibration, score_calibration

Scores = Mapping[str, Mapping[str, Interval]]
"""Task, then metric."""


@dataclass(frozen=True, kw_only=True)
class Facts:
    """A run's side of a card. Scores are those of the calibrated probabilities of held-out samples."""

    name: str
    fold: str | None
    num_members: int
    tasks: Mapping[str, Task]
    modalities: Mapping[str, str]
    """The class of each modality."""
    weights: Mapping[str, Mapping[str, Any]]
    """Source, revision and checksum of the pretrained weights of the backbone and of modalities."""
    adapter: str
    cohorts: Mapping[str, list[CountRow]]
    num_held_out: int
    """Held-out subjects, with a label or without."""
    scores: Scores
    groups: Mapping[str, Mapping[str, Scores]]
    calibrations: Mapping[str, Calibration]
    calibrated: Mapping[str, Mapping[str, Any]]
    """What `score_calibration` says of each task."""
    operating_points: Mapping[str, Sequence[OperatingPoint]]
    """Those of each yes-or-no view of a task."""
    membership: Interval | None
    compute: Compute
    provenance: Mapping[str, Any]

    @property
    def checksums(self) -> set[str]:
        """Return what identifies code and data."""
        commit = str(self.provenance["commit"]).removesuffix("+")
        return only_checksums(
            [commit, self.provenance["config_sha256"], *self.provenance["data_sha256"].values()]
        )


def read_facts(
    run: Path,
    experiment: Experiment,
    number: int,
    fold: Fold,
    members: Mapping[Path, Package],
    accelerator: Accelerator,
) -> Facts:
    """Collect the facts of fold `number` of an evaluated run, whose `members` stand in the folders that name them."""
    config, tasks, samples = experiment.config, experiment.tasks, experiment.samples
    split = read_splits(fold.folder / "splits.parquet", samples)
    rows = rows_by_split(split)
    plain = {name: _read(run / RAW / name, experiment, number) for name in (TUNING, HELD_OUT)}

    path = fold.folder / CALIBRATION
    calibrations = read_calibrations(path) if path.exists() else {}
    tuning, held_out = (_calibrate(plain[name], calibrations) for name in (TUNING, HELD_OUT))
    scored = of_tasks(held_out, tasks)

    return Facts(
        name=config.name,
        fold=None if fold.number is None else fold.folder.name,
        num_members=len(members),
        tasks=tasks,
        modalities={
            name: type(modality).__name__ for name, modality in experiment.modalities.items()
        },
        weights={
            name: part
            for name, part in read_about(next(iter(members)))["weights"].items()
            if "sha256" in part
        },
        adapter=config.adapter.mode,
        cohorts=cohort_table(samples, split, tasks),
        num_held_out=len(np.unique(samples.subject[rows[HELD_OUT]])),
        scores=intervals(scored),
        groups=by_group(scored, experiment.groups) if experiment.groups else {},
        calibrations=calibrations,
        calibrated={
            name: _shown(
                score_calibration(plain[HELD_OUT][name], [fitted], tasks[name]),
                plain[HELD_OUT][name],
                task,
            )
            for name, fitted in calibrations.items()
            if (task := tasks[name]).questions
        },
        operating_points=_operating_points(tuning, held_out, tasks),
        membership=membership_inference(experiment, members.values(), rows, accelerator),
        compute=read_compute(run, config.cluster.nodes),
        provenance=_provenance(run),
    )


def _read(folder: Path, experiment: Experiment, number: int) -> dict[str, Predictions]:
    """Return the predictions of one fold of a run, by task; none where the run has no such split."""
    if not folder.is_dir():
        return {}
    parts = {name: read_predictions(folder, name, task) for name, task in experiment.tasks.items()}
    mine = {name: take(part, part.fold == number) for name, part in parts.items()}
    return {name: replace(part, fold=np.zeros_like(part.fold)) for name, part in mine.items()}


def _calibrate(
    predictions: Mapping[str, Predictions], calibrations: Mapping[str, Calibration]
) -> dict[str, Predictions]:
    return {
        name: replace(part, predicted=calibrations[name].apply(part.predicted))
        if name in calibrations
        else part
        for name, part in predictions.items()
    }


def _shown(scores: dict[str, Any], held_out: Predictions, task: Task) -> dict[str, Any]:
    """Return the scores of a calibration without shares of so few samples that these could be counted."""
    few = count_labels([of_task(held_out, task)]).n_samples < SMALLEST_SHOWN
    return {**scores, "abstained": None, "error": None} if few else scores


def _operating_points(
    tuning: Mapping[str, Predictions],
    held_out: Mapping[str, Predictions],
    tasks: Mapping[str, Task],
) -> dict[str, list[OperatingPoint]]:
    """Return the operating points of each yes-or-no view for which there are any."""
    found = {
        output_name(name, view.name): operating_points(view.of(part), view.of(held_out[name]))
        for name, part in tuning.items()
        for view in tasks[name].binary_views
    }
    return {name: points for name, points in found.items() if points}


def _provenance(run: Path) -> dict[str, Any]:
    """Return what identifies code and data, without paths of the machine."""
    record = read_json(run / "provenance.json")
    kept = {
        name: record[name]
        for name in ("clintune", "commit", "created", "config_sha256", "python", "packages")
    }
    data = {name: value_sha256(cohort["files"]) for name, cohort in record["cohorts"].items()}
    return {**kept, "data_sha256": data}
