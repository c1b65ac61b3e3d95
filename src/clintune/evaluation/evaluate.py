"""Evaluate a run: predictions, metrics with intervals, ablations, groups, report. Needs the run folder alone."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from meds.schema import held_out_split as HELD_OUT
from meds.schema import tuning_split as TUNING
from numpy.typing import NDArray
from omegaconf import DictConfig
from rich.table import Table

from clintune.config.compose import load_config
from clintune.contracts import Predictions
from clintune.core.errors import DataError
from clintune.core.files import write_json
from clintune.evaluation.ablations import WHOLE, ablate, variants
from clintune.evaluation.intervals import Scored, fold_values, intervals, to_json
from clintune.evaluation.predict import Probabilities, average, concatenate, predict_member, to_predictions
from clintune.evaluation.predictions import write_predictions
from clintune.evaluation.report import ReportContent, write_report
from clintune.evaluation.subgroups import by_group, by_output
from clintune.package import load_package, member_folders
from clintune.tasks.base import Task
from clintune.training.partition import Unit, read_splits, rows_by_split, units
from clintune.training.prepare import fill_caches
from clintune.training.workspace import Workspace, console, open_workspace

ByTask = dict[str, Predictions]


def evaluate_run(run: Path, *, replicates: int, ablate_modalities: bool) -> None:
    """Score every unit of a run on its tuning and held-out samples; write predictions, metrics.json and report.html.

    Raises DataError when no sample is held out, PackageError when the run is not trained to its end.
    """
    config = load_config(run / "recipe.yaml")
    workspace = open_workspace(config)
    for unit in units(config, run, workspace.samples):
        member_folders(unit.folder / "package")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    named = variants(workspace.modalities)
    chosen = named if ablate_modalities else {WHOLE: named[WHOLE]}
    predicted = _predict(run, workspace, chosen, device)
    if not predicted[HELD_OUT]:
        raise DataError("no labelled sample is held out; check the splits of the run's cohorts")

    tasks = workspace.tasks
    scored = {split: _scored(parts[WHOLE], tasks) for split, parts in predicted.items() if parts}
    metrics: dict[str, Any] = {
        split: to_json(intervals(parts, replicates=replicates)) for split, parts in scored.items()
    }
    if config.cv is not None:
        by_fold = {split: fold_values(parts) for split, parts in scored.items()}
        metrics["folds"] = [dict(zip(by_fold, fold, strict=True)) for fold in zip(*by_fold.values(), strict=True)]
    for split, parts in predicted.items():
        for name in parts.get(WHOLE, {}):
            write_predictions(run / "predictions" / split, name, parts[WHOLE][name], tasks[name])

    held_out = scored[HELD_OUT]
    scores = {name: task.scores for name, task in tasks.items()}
    ablations = {}
    if ablate_modalities and len(workspace.modalities) > 1:
        by_kept = {kept: predicted[HELD_OUT][variant] for variant, kept in chosen.items()}
        compared = ablate(by_kept.__getitem__, workspace.modalities, scores, replicates=replicates)
        ablations = {variant: ablation.to_json() for variant, ablation in compared.items()}
        metrics["ablations"] = ablations
    groups = {
        column: {group: to_json(table) for group, table in by_name.items()}
        for column, by_name in by_group(held_out, _groups(config, workspace), replicates=replicates).items()
    }
    if groups:
        metrics["groups"] = groups
    write_json(run / "metrics.json", metrics)
    outputs = {
        name: to_json(by_output(part.predictions, tasks[name].output_names, replicates=replicates))
        for name, part in held_out.items()
        if tasks[name].num_outputs > 1
    }
    write_report(
        run / "report.html",
        ReportContent(
            name=config.name,
            metrics=metrics,
            predictions={name: part.predictions for name, part in held_out.items()},
            output_names={name: task.output_names for name, task in tasks.items()},
            history=_history(run),
            ablations=ablations,
            groups=groups,
            outputs=outputs,
            provenance=json.loads((run / "provenance.json").read_text(encoding="utf-8")),
            notes=_notes(run, config),
        ),
    )
    _print(metrics)


def _predict(
    run: Path, workspace: Workspace, chosen: Mapping[str, frozenset[str]], device: torch.device
) -> dict[str, dict[str, ByTask]]:
    """Return the predictions of each split, variant and task, over all units."""
    collected: dict[str, dict[str, dict[str, list[Predictions]]]] = {TUNING: {}, HELD_OUT: {}}
    samples = workspace.samples
    for number, unit in enumerate(units(workspace.config, run, samples)):
        split = read_splits(unit.folder / "splits.parquet", samples)
        rows = rows_by_split(split)
        wanted = {
            name: chosen if name == HELD_OUT else {WHOLE: chosen[WHOLE]}
            for name in (TUNING, HELD_OUT)
            if len(rows[name])
        }
        for name, by_variant in _predict_unit(run, unit, workspace, rows, wanted, device).items():
            for variant, by_task in by_variant.items():
                for task, probabilities in by_task.items():
                    part = to_predictions(
                        samples, rows[name], task, probabilities, number, workspace.config.per_subject
                    )
                    collected[name].setdefault(variant, {}).setdefault(task, []).append(part)
    return {
        name: {v: {task: concatenate(parts) for task, parts in by_task.items()} for v, by_task in by_variant.items()}
        for name, by_variant in collected.items()
    }


def _predict_unit(
    run: Path,
    unit: Unit,
    workspace: Workspace,
    rows: Mapping[str, NDArray[np.int64]],
    wanted: Mapping[str, Mapping[str, frozenset[str]]],
    device: torch.device,
) -> dict[str, dict[str, Probabilities]]:
    """Return the probabilities of each wanted split and variant, averaged over the unit's members, one at a time."""
    config, samples = workspace.config, workspace.samples
    parts = [*config.modalities.values(), *config.tasks.values()]
    trusted = sorted({str(part["_target_"]).partition(".")[0] for part in parts})
    members: list[dict[str, dict[str, Probabilities]]] = []
    for folder in member_folders(unit.folder / "package"):
        package = load_package(folder, device, trusted)
        caches = fill_caches(
            package.model.encoders,
            package.statistics,
            samples,
            np.concatenate([rows[split] for split in wanted]),
            workspace.cache,
            device=device,
            max_bad_fraction=config.data.max_bad_fraction,
            report=run / "unreadable.csv",
        )
        size = config.trainer.micro_batch_size
        members.append(
            {
                split: predict_member(package, caches, samples, rows[split], kept, batch_size=size, device=device)
                for split, kept in wanted.items()
            }
        )
    return {split: average([member[split] for member in members]) for split in wanted}


def _scored(predictions: ByTask, tasks: Mapping[str, Task]) -> dict[str, Scored]:
    return {name: Scored(part, tasks[name].scores) for name, part in predictions.items()}


def _groups(config: DictConfig, workspace: Workspace) -> dict[str, pl.DataFrame]:
    """Return each cohort's table of groups, where it has one."""
    tables = {}
    for index in workspace.samples.indexes:
        if (name := config.cohorts[index.name].groups) is not None:
            path = index.root / name
            if not path.is_file():
                raise DataError(f"cohorts.{index.name}.groups: {path} is missing; write it, or set groups=null")
            tables[index.name] = pl.read_parquet(path)
    return tables


def _history(run: Path) -> list[dict[str, Any]]:
    path = run / "history.jsonl"
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


def _notes(run: Path, config: DictConfig) -> list[str]:
    notes = []
    if config.ensemble > 1:
        notes.append(f"Probabilities are the average of {config.ensemble} models trained with different seeds.")
    if config.per_subject:
        notes.append("Each patient counts once: the probabilities of a patient's samples are averaged.")
    if (run / "unreadable.csv").exists():
        number = len(pl.read_csv(run / "unreadable.csv"))
        notes.append(
            f"{number} items could not be read and were left out; unreadable.csv in the run folder lists them."
        )
    return notes


def _print(metrics: Mapping[str, Any]) -> None:
    """Print the held-out metrics with intervals."""
    table = Table("task", "metric", "value", "95 % interval", title="held out")
    for task, values in metrics[HELD_OUT].items():
        for name, score in values.items():
            numbers = [score[key] for key in ("value", "low", "high")]
            value, low, high = ("-" if number is None else f"{number:.3f}" for number in numbers)
            table.add_row(task, name, value, f"{low} to {high}")
    console.print(table)
