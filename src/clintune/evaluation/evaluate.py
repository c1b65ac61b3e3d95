"""Evaluate a run: predictions, metrics, analyses, report. It needs the run folder alone."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.table import Table

from clintune.config.moved import moved
from clintune.config.schema import Config
from clintune.core.console import console
from clintune.core.disclosure import SMALLEST_SHOWN
from clintune.core.files import file_sha256, read_json, write_json
from clintune.evaluation import scores
from clintune.evaluation.analysis import (
    Analyses,
    analysis_names,
    load_analyses,
    of_card,
    requests_of,
    run_analyses,
)
from clintune.evaluation.collect import check_held_out, predict_run, whole
from clintune.evaluation.context import HELD_OUT, TUNING, WHOLE, Context
from clintune.evaluation.intervals import REPLICATES
from clintune.evaluation.page import Page
from clintune.evaluation.predictions import write_both
from clintune.evaluation.report import write_report
from clintune.evaluation.subjects import take
from clintune.experiment.folds import Fold, folds, read_splits
from clintune.experiment.open import Experiment, open_experiment
from clintune.experiment.provenance import check_data, note_changed_modules
from clintune.experiment.resume import run_config
from clintune.launch.device import make_accelerator
from clintune.package.calibrations import CALIBRATION, write_calibrations
from clintune.package.manifest import MANIFEST
from clintune.package.members import member_folders, trained_members
from clintune.tasks.calibration import Calibration, fit_calibration

METRICS = "metrics.json"


def evaluate_run(
    run: Path,
    *,
    replicates: int,
    ablate_modalities: bool,
    against: Path | None,
    places: Sequence[str] = (),
) -> None:
    """Score every fold of a run on its tuning and held-out samples, and run the recipe's analyses.

    It writes predictions, metrics.json and report.html; each fold of a run has a metrics.json of
    its own, of what a model card shows. With `against`, the held-out predictions are compared with
    those of another run, paired by subject; `places` say where data stand now, as `config.moved`
    reads them. Raises DataError when no sample is held out, PackageError when the run is not
    trained to its end, or an answer is not finite.
    """
    config = moved(run_config(run), places, "evaluate")
    experiment = open_experiment(config)
    check_data(run, experiment)
    note_changed_modules(run, config)
    found = folds(config, run, experiment.samples)
    for fold in found:
        trained_members(fold.folder / "package", config.ensemble)
    check_held_out(run, experiment)

    # Predict what the analyses ask for.
    names = _names(config, ablate_modalities, against)
    analyses = load_analyses(names)
    requests = [whole(experiment.modalities), *requests_of(analyses, list(experiment.modalities))]
    accelerator = make_accelerator(config.trainer)
    predicted = predict_run(run, experiment, requests, accelerator)
    if not accelerator.is_main_process:
        return

    # Predictions stand in the run folder before anything is asked of them.
    context = make_context(run, experiment, predicted, replicates=replicates, against=against)
    _write_predictions(context)
    metrics = _analyse(context, names, analyses, found)
    write_json(run / METRICS, metrics)
    if config.cv is not None:
        _write_folds(context, names, of_card(analyses), found)

    page, origin = Page(tasks=context.tasks, metrics=metrics), read_json(run / "provenance.json")
    write_report(run / "report.html", config.name, page, analyses, origin)
    _print(metrics)


def _names(config: Config, ablate_modalities: bool, against: Path | None) -> list[str]:
    """Return the analyses of a run: those of its recipe, but for what the command says."""
    names = analysis_names(config)
    if against is not None and "against" not in names:
        names.append("against")
    return [name for name in names if ablate_modalities or name != "ablations"]


def make_context(
    run: Path,
    experiment: Experiment,
    predicted: Mapping[str, Any],
    *,
    replicates: int = REPLICATES,
    against: Path | None = None,
) -> Context:
    """Return what analyses read of a run and its predictions, see `predict_run`.

    Calibrations are fitted on the way, and written beside the packages that they belong to.
    """
    context = Context(
        run=run,
        config=experiment.config,
        samples=experiment.samples,
        tasks=experiment.tasks,
        modalities=list(experiment.modalities),
        groups=experiment.groups,
        raw=predicted,
        calibrations=[],
        split=None,
        replicates=replicates,
        against=against,
    )

    found = folds(experiment.config, run, experiment.samples)
    calibrations = [_fit_calibrations(context, number, fold) for number, fold in enumerate(found)]
    split = None
    if experiment.config.cv is None:
        split = read_splits(run / "splits.parquet", experiment.samples)
    return replace(context, calibrations=calibrations, split=split)


def _fit_calibrations(context: Context, number: int, fold: Fold) -> dict[str, Calibration]:
    """Return the calibration of each task, fitted on the fold's tuning samples and written there.

    Without tuning samples predictions stay as they are, and nothing is written.
    """
    if TUNING not in context.splits:
        return {name: Calibration.identity(task.questions) for name, task in context.tasks.items()}

    fitted = {}
    for name, part in context.raw[TUNING][WHOLE].items():
        fitted[name] = fit_calibration(take(part, part.fold == number), context.tasks[name])
    write_calibrations(fold.folder / CALIBRATION, fitted)
    return fitted


def _write_predictions(context: Context) -> None:
    for split in context.splits:
        for name, part in context.raw[split][WHOLE].items():
            write_both(context.run, split, name, part, context.fitted(name), context.tasks[name])


def _analyse(
    context: Context, names: list[str], analyses: Analyses, found: Sequence[Fold]
) -> dict[str, Any]:
    """Return what stands in metrics.json: scores, the result of each analysis, what they are of.

    `names` are those by which the card finds the analyses again.
    """
    packages = {
        member.relative_to(context.run).as_posix(): file_sha256(member / MANIFEST)
        for fold in found
        for member in member_folders(fold.folder / "package", context.config.ensemble)
    }
    results = scores.run(context) | run_analyses(analyses, context)
    return {**results, "evaluation": names, "packages": packages}


def _write_folds(
    context: Context, names: list[str], analyses: Analyses, found: Sequence[Fold]
) -> None:
    """Write the scores of each fold with held-out samples, which are what a card of it shows."""
    for number, fold in enumerate(found):
        within = context.of_fold(number, fold)
        if any(len(part) for part in within.held_out.values()):
            write_json(fold.folder / METRICS, _analyse(within, names, analyses, [fold]))


def _print(metrics: Mapping[str, Any]) -> None:
    """Print the held-out metrics with intervals."""
    table = Table("task", "metric", "value", "95 % interval", title="held out")
    for task, values in metrics[HELD_OUT].items():
        for name, score in values.items():
            value, low, high = _texts(score)
            few = score["n_subjects"] < SMALLEST_SHOWN
            interval = f"fewer than {SMALLEST_SHOWN} subjects" if few else f"{low} to {high}"
            table.add_row(task, name, value, interval)
    console.print(table)

    for task, values in metrics.get("against", {}).items():
        for name, difference in values.items():
            value, low, high = _texts(difference, sign="+")
            console.print(f"against the other run: {task} {name} {value} ({low} to {high})")


def _texts(score: Mapping[str, Any], sign: str = "") -> list[str]:
    """Return value, low and high end of a score as text."""
    numbers = [score[key] for key in ("value", "low", "high")]
    return ["-" if number is None else f"{number:{sign}.3f}" for number in numbers]
