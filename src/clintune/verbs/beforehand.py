"""Find what a job lacks on this machine: packages, GPUs, folders, labels.

It takes a second and does not import torch.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from shutil import which
from typing import Any

from meds.schema import subject_splits_filepath

from clintune.cohort.checks import folder_problems
from clintune.config.schema import Cluster, Cohort, Config, Scoring
from clintune.core.errors import ConfigError, PackageError
from clintune.core.extras import how_to_install, is_installed
from clintune.core.paths import writable_folder
from clintune.core.problems import Problem, raise_all
from clintune.experiment.resume import check_trained
from clintune.launch.gpus import num_gpus
from clintune.launch.processes import is_worker
from clintune.package.bounds import COMPOSED, out_of_bounds
from clintune.package.manifest import MANIFEST
from clintune.package.plain import read_yaml
from clintune.storage.remote import is_remote
from clintune.training.tracking import PACKAGES

_OURS = "clintune.modalities."
"""Start of the modalities whose `source` is known; those of other modules may mean other things."""


def check_beforehand(config: Config) -> None:
    """Refuse a run that would fail later; one ConfigError names everything it lacks."""
    problems: list[Problem | str] = [
        *_packages(config),
        *_cluster(config.cluster),
        *_device(config.cluster, "trainer.precision", config.trainer.precision),
        *_offload(config),
        *_packable(config),
        *_weights(config),
        *_modules(config.modules),
        *folder_problems(config.cohorts, config.cv, config.tasks),
        *_raw(config.cohorts),
        *_tuning(config),
    ]
    raise_all("train", problems)


def check_job(config: Scoring) -> None:
    """Refuse a scoring job as `check_beforehand` refuses a run."""
    problems: list[Problem | str] = [
        *_cluster(config.cluster),
        *_device(config.cluster, "precision", config.precision),
        *folder_problems(config.cohorts),
        *_raw(config.cohorts),
    ]
    raise_all("predict", problems)


def check_folders(config: Config, verb: str) -> None:
    """Refuse work on a trained run whose folders are gone.

    Where it trained, and with which packages, does not matter any more.
    """
    raise_all(verb, list(folder_problems(config.cohorts, config.cv, config.tasks)))


def check_data(configs: Mapping[str, Config]) -> None:
    """Refuse a benchmark if none of its experiments has its data.

    An experiment that has them runs without the others.
    """
    lacking = {
        name: [*folder_problems(c.cohorts, c.cv, c.tasks), *_raw(c.cohorts)]
        for name, c in configs.items()
    }
    if all(lacking.values()):
        every = (problem for problems in lacking.values() for problem in problems)
        raise_all("benchmark", list(dict.fromkeys(every)))


def check_runs(runs: str, *, make: bool) -> None:
    """Refuse a folder of runs in which training could not make its run folder.

    With `make` the folder is made and tried; else it is only inspected.
    """
    if make:
        writable_folder(runs, "runs")
        return

    folder = Path(runs).expanduser().absolute()
    there = next(above for above in (folder, *folder.parents) if above.exists())
    if not (there.is_dir() and os.access(there, os.W_OK | os.X_OK)):
        raise ConfigError(f"runs: {folder} cannot be written to; name another folder")


def check_packages(run: Path, config: Config) -> None:
    """Refuse to evaluate a run that lacks the package of a model.

    It was not trained, or not to its end.
    """
    check_trained(run)
    folds = [run] if config.cv is None else sorted((run / "folds").glob("*-*")) or [run]
    names = [""]
    if config.ensemble > 1:
        names = [f"member-{number}" for number in range(config.ensemble)]

    for folder in (fold / "package" / name for fold in folds for name in names):
        if not (folder / MANIFEST).is_file() and any(folder.glob("*.safetensors")):
            raise ConfigError(
                f"evaluate: {folder}: {MANIFEST} is missing; restore the package, or train anew"
            )
        if not (folder / MANIFEST).is_file():
            raise ConfigError(
                f"evaluate: {folder}: no package there; "
                f"train the run to its end (clintune train --resume {run})"
            )


def check_evaluated(run: Path) -> None:
    """Refuse a run that was never evaluated."""
    if not (run / "metrics.json").is_file():
        raise PackageError(f"{run}: not evaluated; run `clintune evaluate {run}` first")


def check_package(source: str) -> None:
    """Refuse a folder of this machine that is neither a package nor a run with one.

    Addresses of other machines are not asked.
    """
    folder = Path(source).expanduser()
    if not folder.is_dir():
        return

    inside = folder / "package" if (folder / "recipe.yaml").is_file() else folder
    weights = (*inside.glob("*.safetensors"), *inside.glob("member-*/*.safetensors"))
    if not weights:
        raise PackageError(
            f"{folder}: no package there; give a package, or a run that was trained to its end"
        )


def check_trusted(verb: str, source: str, trusted: Sequence[str]) -> None:
    """Refuse a module that the user trusts and that Python cannot find.

    It may also stand beside the recipe of a run.
    """
    recipe = Path(source).expanduser() / "recipe.yaml"
    described = read_yaml(recipe) if trusted and recipe.is_file() else None
    beside = described.get("modules") if isinstance(described, dict) else None

    for module in trusted:
        top = module.partition(".")[0]
        files = [Path(beside, f"{top}.py"), Path(beside, top)] if isinstance(beside, str) else []
        if not (top and is_installed(top)) and not any(file.exists() for file in files):
            raise ConfigError(
                f"{verb}: no Python module {module} to trust; correct its name, or install it"
            )


def _packages(config: Config) -> Iterator[str]:
    """Yield a problem for each package that the config needs and that is not installed."""
    needed = {
        "tracker": PACKAGES.get(config.tracker["_target_"]),
        "backbone.quantize": "bitsandbytes" if config.backbone.quantize == "4bit" else None,
        "backbone.liger": "liger_kernel" if config.backbone.liger else None,
    }
    for key, module in needed.items():
        if module is not None and not is_installed(module):
            yield f"'{key}' needs the Python package {module}; {how_to_install(module)}"


def _cluster(cluster: Cluster) -> Iterator[str]:
    """Yield what this machine lacks to run the job on the cluster."""
    if is_worker():
        return

    on_slurm = cluster.kind == "slurm"
    there = num_gpus() if cluster.gpus_per_node and not on_slurm else None
    if on_slurm:
        if not is_installed("submitit"):
            yield f"cluster=slurm needs submitit; {how_to_install('submitit')}"
        elif which("sbatch") is None:
            yield (
                "cluster=slurm: sbatch is not on this machine; "
                "run on a login node, or use cluster=local"
            )
    elif there is not None and there < cluster.gpus_per_node:
        yield (
            f"'cluster.gpus_per_node' is {cluster.gpus_per_node}, but this machine has {there} "
            "GPUs that can be used; lower it, or give cluster.processes"
        )


def _packable(config: Config) -> Iterator[str]:
    """Yield what no package can hold: evaluation would refuse it, after the training."""
    whole = asdict(config)
    for problem in out_of_bounds({name: whole[name] for name in COMPOSED}):
        yield f"{problem}, as docs/package.md has them; no package could hold the model"


def _device(cluster: Cluster, key: str, precision: str | None) -> Iterator[str]:
    """Yield a problem for a precision that needs a GPU if this machine computes and has none."""
    if precision == "fp16" and _lacks_gpu(cluster):
        yield f"{key}=fp16 needs a GPU; use bf16 or fp32"


def _offload(config: Config) -> Iterator[str]:
    if config.strategy.cpu_offload and _lacks_gpu(config.cluster):
        yield "strategy.cpu_offload needs a GPU, and several processes"


def _lacks_gpu(cluster: Cluster) -> bool:
    """Return whether the job computes on this machine, and the machine has no GPU."""
    elsewhere = cluster.kind == "slurm" and not is_worker()
    return not elsewhere and num_gpus() == 0


def _weights(config: Config) -> Iterator[str]:
    """Yield a problem for each folder of weights, or of a tokenizer, that does not exist.

    A name that may be an id of a hub is not checked.
    """
    places = {"backbone.source": config.backbone.source}
    for name, part in config.modalities.items():
        if part["_target_"].startswith(_OURS):
            places |= {f"modalities.{name}.{key}": part.get(key) for key in ("source", "tokenizer")}

    for key, value in places.items():
        if not isinstance(value, str) or ":" in value:
            continue
        is_path = value.startswith(("/", ".", "~")) or value.count("/") > 1
        if is_path and not Path(value).expanduser().is_dir():
            yield f"'{key}': {value} is no folder; give a local folder, a hub id or bundled:NAME"


def _modules(folder: str | None) -> Iterator[str]:
    """Yield a problem if the folder of the user's own modules does not exist."""
    if folder is not None and not Path(folder).is_dir():
        yield f"'modules': {folder} is no folder; name that of your Python modules, or drop it"


def _raw(cohorts: Mapping[str, Cohort]) -> Iterator[Problem]:
    """Yield a problem for raw data that a `source` has yet to read and that do not exist."""
    for name, cohort in cohorts.items():
        raw = cohort.source and cohort.source.get("raw")
        if not isinstance(raw, str) or is_remote(raw) or Path(cohort.root).expanduser().is_dir():
            continue
        if not (path := Path(raw).expanduser()).exists():
            yield Problem(
                f"cohorts.{name}.source.raw",
                f"{path} is missing",
                f"set data.raw to the folder that holds {path.name} "
                "(docs/public_data.md says where public data come from)",
            )


def _tuning(config: Config) -> Iterator[str]:
    """Yield a problem if a run would wait in vain for a tuning score to stop early."""
    tuned = (_may_be_tuned(config.cv, cohort) for cohort in config.cohorts.values())
    if config.trainer.patience is not None and not any(tuned):
        yield (
            "'trainer.patience' waits for tuning scores, but splits.tuning is 0 everywhere; "
            "raise it, or drop patience"
        )


def _may_be_tuned(cv: Any, cohort: Cohort) -> bool:
    if cohort.splits.tuning > 0:
        return True
    drawn = cv is not None or cohort.splits.group is not None

    # The cohort's own file of splits, or one that a `source` may write, replaces the share.
    unseen = is_remote(cohort.root) or cohort.source is not None
    return not drawn and (
        unseen or (Path(cohort.root).expanduser() / subject_splits_filepath).is_file()
    )
