"""What a run must have before it may leave.

It is an evaluation of the very packages, and many subjects behind everything that they name.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from clintune.cohort.samples import Samples
from clintune.core.disclosure import SMALLEST_SHOWN
from clintune.core.errors import PackageError
from clintune.core.files import file_sha256, read_json
from clintune.evaluation.evaluate import METRICS
from clintune.package.calibrations import read_calibrations
from clintune.package.contents import Package
from clintune.package.manifest import MANIFEST, local_manifest
from clintune.tasks.base import Task


def check_evaluated(run: Path, fold: Path, members: Sequence[Path]) -> None:
    """Raise PackageError for packages that changed, or that metrics.json was not computed from.

    `fold` is the run itself or the folder of one fold, whose own scores stand on the card.
    """
    again = f"run `clintune evaluate {run}` first"
    if not (run / METRICS).is_file():
        raise PackageError(f"{run}: not evaluated; {again}")

    path = fold / METRICS
    metrics = read_json(path) if path.is_file() else {}
    if "calibrated" not in metrics:
        raise PackageError(
            f"{path}: lacks the scores of calibrated probabilities, as of an earlier version or "
            f"without calibrated in `evaluation`; {again}"
        )

    evaluated = metrics.get("packages", {})
    for member in members:
        local_manifest(member)
        if evaluated.get(member.relative_to(run).as_posix()) != file_sha256(member / MANIFEST):
            raise PackageError(f"{path}: is of another package than {member}; {again}")


def check_floor(members: Mapping[Path, Package]) -> None:
    """Raise PackageError for statistics that may rest on fewer than 11 subjects."""
    for package in members.values():
        for name, statistics in package.statistics.items():
            if statistics and statistics.get("min_subjects", 0) < SMALLEST_SHOWN:
                raise PackageError(
                    f"modalities.{name}: its statistics may be of fewer than {SMALLEST_SHOWN} "
                    f"subjects; train again with min_subjects={SMALLEST_SHOWN}"
                )


def check_rounded(run: Path, path: Path) -> None:
    """Raise PackageError for a calibration whose floors are not rounded.

    Each floor is the probability of one patient.
    """
    calibrations = read_calibrations(path) if path.exists() else {}
    by_question = [floors for fitted in calibrations.values() for floors in fitted.floors]
    floors = [floor for some in by_question for floor in some]
    if any(floor != float(f"{floor:.1e}") for floor in floors):
        raise PackageError(
            f"{path}: its floors are those of single patients; run `clintune evaluate {run}` again"
        )


def check_answers(samples: Samples, tasks: Mapping[str, Task]) -> None:
    """Raise PackageError for a class or phenotype that fewer than 11 subjects have.

    A release names every answer. The one answer of a yes-or-no task is called by its label, which a
    person chose.
    """
    for name, task in tasks.items():
        named = list(task.released_names(samples.targets(name)))
        for number, (_, has) in enumerate(named, 1):
            rows = np.flatnonzero(has)
            if 0 < len(np.unique(samples.subject[rows])) < SMALLEST_SHOWN:
                (sample,) = samples.keys(rows[:1])
                raise PackageError(
                    f"tasks.{name}: fewer than {SMALLEST_SHOWN} subjects have answer {number} of "
                    f"{len(named)}, as sample {sample}, and a release would name it; merge it with "
                    "another, or leave it out, and train again"
                )
