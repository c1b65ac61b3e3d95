"""Evaluate a run: predictions, metrics with intervals, ablations, groups, report. Needs the run folder alone."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl
from meds.schema import held_out_split as HELD_OUT
from meds.schema import tuning_split as TUNING
from omegaconf import DictConfig
from rich.table import Table

from clintune.config.moved import moved
from clintune.core.console import console
from clintune.core.disclosure import SMALLEST_SHOWN
from clintune.core.files import file_sha256, read_json, write_json
from clintune.evaluation.ablations import WHOLE, ablate, variants
from clintune.evaluation.collect import MEMBER, ByTask, check_held_out, predict_run
from clintune.evaluation.compare import compare_runs
from clintune.evaluation.intervals import fold_values, intervals, plain_values, to_json
from clintune.evaluation.predictions import write_both
from clintune.evaluation.report import write_report
from clintune.evaluation.report_content import ReportContent
from clintune.evaluation.scored import Scored, of_tasks
from clintune.evaluation.subgroups import by_group, by_view
from clintune.evaluation.subjects import take
from clintune.experiment.folds import folds
from clintune.experiment.limits import read_limits
from clintune.experiment.open import Experiment, open_experiment
from clintune.experiment.provenance import check_data
from clintune.experiment.resume import changes_in_words, run_config
from clintune.launch.device import make_accelerator
from clintune.package.calibrations import CALIBRATION, write_calibrations
from clintune.package.manifest import MANIFEST
from clintune.package.members import member_folders, trained_members
from clintune.tasks.calibration import Calibration, fit_calibration, score_calibration
from clintune.training.history import read_history


def evaluate_run(
    run: Path,
    *,
    replicates: int,
    ablate_modalities: bool,
    against: Path | None,
    places: Sequence[str] = (),
) -> None:
    """Score every fold of a run on its tuning and held-out samples; write predictions, metrics.json and report.html.

    With `against`, compare the held-out predictions with those of another run, paired by subject; `places` say where
    data stand now, as `config.moved` reads them. Raises DataError when no sample is held out, PackageError when the
    run is not trained to its end, or an answer is not finite.
    """
    config = moved(run_config(run), places, "evaluate")
    experiment = open_experiment(config)
    tasks = experiment.tasks
    check_data(run, experiment)
    for fold in folds(config, run, experiment.samples):
        trained_members(fold.folder / "package", config.ensemble)
    check_held_out(run, experiment)

    named = variants(experiment.modalities)
    chosen = named if ablate_modalities else {WHOLE: named[WHOLE]}
    accelerator = make_accelerator(config)
    predicted = predict_run(run, experiment, chosen, accelerator)
    if not accelerator.is_main_process:
        return

    scored = {split: of_tasks(parts[WHOLE], tasks) for split, parts in predicted.items() if parts}
    metrics: dict[str, Any] = {
        split: to_json(intervals(parts, replicates=replicates)) for split, parts in scored.items()
    }
    metrics |= _details(experiment, predicted[HELD_OUT], scored, chosen, replicates)
    fitted = _fit_calibrations(run, experiment, scored)
    if TUNING in scored:
        metrics["calibration"] = {
            name: score_calibration(
                part.predictions, [by_task[name] for by_task in fitted], tasks[name]
            )
            for name, part in scored[HELD_OUT].items()
            if tasks[name].questions
        }
    for split, parts in scored.items():
        for name, part in parts.items():
            write_both(
                run,
                split,
                name,
                part.predictions,
                [by_task[name] for by_task in fitted],
                tasks[name],
            )

    metrics["packages"] = {
        member.relative_to(run).as_posix(): file_sha256(member / MANIFEST)
        for fold in folds(config, run, experiment.samples)
        for member in member_folders(fold.folder / "package", config.ensemble)
    }
    if against is not None:
        metrics["against"] = compare_runs(run, against, tasks, replicates)
    write_json(run / "metrics.json", metrics)
    _report(run, experiment, metrics, scored[HELD_OUT], replicates)
    _print(metrics)


def _details(
    experiment: Experiment,
    held_out: Mapping[str, ByTask],
    scored: Mapping[str, Mapping[str, Scored]],
    chosen: Mapping[str, frozenset[str]],
    replicates: int,
) -> dict[str, Any]:
    """Return what stands in metrics.json beside the splits: folds, members, ablations, groups, where there are any."""
    config, tasks = experiment.config, experiment.tasks
    details: dict[str, Any] = {}
    if config.cv is not None:
        by_fold = {split: fold_values(parts) for split, parts in scored.items()}
        details["folds"] = [
            dict(zip(by_fold, fold, strict=True)) for fold in zip(*by_fold.values(), strict=True)
        ]

    members = [parts for variant, parts in held_out.items() if variant.startswith(MEMBER)]
    if members:
        details["members"] = [plain_values(of_tasks(parts, tasks)) for parts in members]

    if len(chosen) > 1:
        by_kept = {kept: held_out[variant] for variant, kept in chosen.items()}
        compared = ablate(by_kept.__getitem__, experiment.modalities, tasks, replicates=replicates)
        details["ablations"] = {
            variant: ablation.to_json() for variant, ablation in compared.items()
        }

    if experiment.groups:
        by_column = by_group(scored[HELD_OUT], experiment.groups, replicates=replicates)
        details["groups"] = {}
        for column, by_name in by_column.items():
            details["groups"][column] = {group: to_json(table) for group, table in by_name.items()}
    return details


def _fit_calibrations(
    run: Path, experiment: Experiment, scored: Mapping[str, Mapping[str, Scored]]
) -> list[dict[str, Calibration]]:
    """Return the calibration of each task by fold, fitted on the fold's tuning samples and written there.

    Without tuning samples predictions stay as they are, and nothing is written.
    """
    tasks = experiment.tasks
    fitted: list[dict[str, Calibration]] = []
    for number, fold in enumerate(folds(experiment.config, run, experiment.samples)):
        if TUNING not in scored:
            fitted.append(
                {name: Calibration.identity(task.questions) for name, task in tasks.items()}
            )
            continue
        parts = {name: part.predictions for name, part in scored[TUNING].items()}
        parts = {name: take(part, part.fold == number) for name, part in parts.items()}
        fitted.append({name: fit_calibration(part, tasks[name]) for name, part in parts.items()})
        write_calibrations(fold.folder / CALIBRATION, fitted[-1])
    return fitted


def _report(
    run: Path,
    experiment: Experiment,
    metrics: Mapping[str, Any],
    held_out: Mapping[str, Scored],
    replicates: int,
) -> None:
    config, tasks = experiment.config, experiment.tasks
    outputs = {
        name: to_json(by_view(part.predictions, tasks[name], replicates=replicates))
        for name, part in held_out.items()
        if len(tasks[name].binary_views) > 1
    }
    provenance = read_json(run / "provenance.json")

    content = ReportContent(
        name=config.name,
        metrics={key: metrics[key] for key in (TUNING, HELD_OUT, "folds") if key in metrics},
        predictions={name: part.predictions for name, part in held_out.items()},
        tasks=tasks,
        history=read_history(run / "history.jsonl"),
        ablations=metrics.get("ablations", {}),
        groups=metrics.get("groups", {}),
        outputs=outputs,
        provenance=provenance,
        notes=[*_notes(run, config), *changes_in_words(provenance)],
    )
    write_report(run / "report.html", content)


def _notes(run: Path, config: DictConfig) -> list[str]:
    notes = []
    if config.ensemble > 1:
        notes.append(
            f"Probabilities are the average of {config.ensemble} models trained with different seeds."
        )
    if config.per_subject:
        notes.append(
            "Each patient counts once: the probabilities of a patient's samples are averaged."
        )
    if (run / "unreadable.csv").exists():
        number = len(pl.read_csv(run / "unreadable.csv", glob=False))
        notes.append(
            f"{number} items could not be read and were left out; unreadable.csv in the run folder lists them."
        )
    return [*notes, *read_limits(run)["sentences"]]


def _print(metrics: Mapping[str, Any]) -> None:
    """Print the held-out metrics with intervals."""
    table = Table("task", "metric", "value", "95 % interval", title="held out")
    for task, values in metrics[HELD_OUT].items():
        for name, score in values.items():
            numbers = [score[key] for key in ("value", "low", "high")]
            value, low, high = ("-" if number is None else f"{number:.3f}" for number in numbers)
            few = score["n_subjects"] < SMALLEST_SHOWN
            table.add_row(
                task,
                name,
                value,
                f"fewer than {SMALLEST_SHOWN} subjects" if few else f"{low} to {high}",
            )
    console.print(table)
    for task, values in metrics.get("against", {}).items():
        for name, difference in values.items():
            numbers = [difference[key] for key in ("value", "low", "high")]
            value, low, high = ("-" if number is None else f"{number:+.3f}" for number in numbers)
            console.print(f"against the other run: {task} {name} {value} ({low} to {high})")
