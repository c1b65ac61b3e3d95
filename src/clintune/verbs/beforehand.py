"""What a job lacks on this machine, found in a second and before torch is imported: packages, GPUs, folders, labels."""

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from shutil import which
from typing import Any

from meds.schema import subject_splits_filepath
from omegaconf import DictConfig, OmegaConf

from clintune.cohort.checks import folder_problems
from clintune.core.errors import ConfigError, PackageError
from clintune.core.extras import how_to_install, is_installed
from clintune.core.paths import writable_folder
from clintune.experiment.resume import check_trained
from clintune.launch.gpus import num_gpus
from clintune.launch.processes import is_worker
from clintune.package.bounds import COMPOSED, out_of_bounds
from clintune.package.manifest import MANIFEST
from clintune.package.plain import read_yaml
from clintune.storage.remote import is_remote
from clintune.training.tracking import PACKAGES

_OURS = "clintune.modalities."
"""Modalities of one's own may mean other things by a source."""


def check_beforehand(config: DictConfig, verb: str) -> None:
    """Refuse a job that could only fail later; raise one ConfigError that names everything it lacks."""
    _refuse(
        verb,
        [
            *_packages(config),
            *_cluster(config.cluster),
            *_device(config),
            *_packable(config),
            *_weights(config),
            *_modules(config),
            *folder_problems(config),
            *_raw(config),
            *_tuning(config),
        ],
    )


def check_folders(config: DictConfig, verb: str) -> None:
    """Refuse work on a run whose folders are gone: where it trained and by what is no matter any more."""
    _refuse(verb, list(folder_problems(config)))


def check_data(configs: Mapping[str, DictConfig]) -> None:
    """Refuse a benchmark of whose experiments none has its data; one that has them runs without the others."""
    lacking = {name: [*folder_problems(config), *_raw(config)] for name, config in configs.items()}
    if all(lacking.values()):
        _refuse(
            "benchmark",
            list(dict.fromkeys(problem for problems in lacking.values() for problem in problems)),
        )


def check_runs(runs: str, *, make: bool) -> None:
    """Refuse a folder of runs in which training could not make its own; it is made and tried, or only looked at."""
    if make:
        writable_folder(runs, "runs")
        return
    folder = Path(runs).expanduser().absolute()
    there = next(above for above in (folder, *folder.parents) if above.exists())
    if not (there.is_dir() and os.access(there, os.W_OK | os.X_OK)):
        raise ConfigError(f"runs: {folder} cannot be written to; name another folder")


def check_packages(run: Path, config: DictConfig) -> None:
    """Refuse to evaluate a run that lacks the package of a model: it was not trained, or not to its end."""
    check_trained(run)
    units = [run] if config.cv is None else sorted((run / "folds").glob("*-*")) or [run]
    names = (
        [f"member-{number}" for number in range(config.ensemble)] if config.ensemble > 1 else [""]
    )
    for folder in (unit / "package" / name for unit in units for name in names):
        if not (folder / MANIFEST).is_file() and any(folder.glob("*.safetensors")):
            raise ConfigError(
                f"evaluate: {folder}: {MANIFEST} is missing; restore the package, or train anew"
            )
        if not (folder / MANIFEST).is_file():
            raise ConfigError(
                f"evaluate: {folder}: no package there; train the run to its end (clintune train --resume {run})"
            )


def check_evaluated(run: Path) -> None:
    """Refuse a run that was never evaluated."""
    if not (run / "metrics.json").is_file():
        raise PackageError(f"{run}: not evaluated; run `clintune evaluate {run}` first")


def check_package(source: str) -> None:
    """Refuse a folder of this machine that is neither a package nor a run with one; another address is not asked."""
    folder = Path(source).expanduser()
    inside = folder / "package" if (folder / "recipe.yaml").is_file() else folder
    if (
        folder.is_dir()
        and not any(inside.glob("*.safetensors"))
        and not any(inside.glob("member-*/*.safetensors"))
    ):
        raise PackageError(
            f"{folder}: no package there; give a package, or a run that was trained to its end"
        )


def check_trusted(verb: str, source: str, trusted: Sequence[str]) -> None:
    """Refuse a module that the user trusts and that Python cannot find, also not beside the recipe of a run."""
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


def _refuse(verb: str, problems: list[str]) -> None:
    if problems:
        raise ConfigError(f"{verb}: " + "; and ".join(problems))


def _packages(config: DictConfig) -> Iterator[str]:
    """Yield each package that the config needs and that is not installed."""
    backbone, tracker = config.get("backbone") or {}, config.get("tracker") or {}
    needed = {
        "tracker": PACKAGES.get(tracker.get("_target_", "")),
        "backbone.quantize": "bitsandbytes" if backbone.get("quantize") == "4bit" else None,
        "backbone.liger": "liger_kernel" if backbone.get("liger") else None,
    }
    for key, module in needed.items():
        if module is not None and not is_installed(module):
            yield f"'{key}' needs the Python package {module}; {how_to_install(module)}"


def _cluster(cluster: Any) -> Iterator[str]:
    """Yield what this machine lacks of the place where the job should run."""
    if is_worker():
        return
    if cluster.kind == "slurm":
        if not is_installed("submitit"):
            yield f"cluster=slurm needs submitit; {how_to_install('submitit')}"
        elif which("sbatch") is None:
            yield "cluster=slurm: sbatch is not on this machine; run on a login node, or use cluster=local"
    elif (
        cluster.gpus_per_node
        and (there := num_gpus()) is not None
        and there < cluster.gpus_per_node
    ):
        yield (
            f"'cluster.gpus_per_node' is {cluster.gpus_per_node}, but this machine has {there} GPUs that can be used; "
            "lower it, or give cluster.processes"
        )


def _packable(config: DictConfig) -> Iterator[str]:
    """Yield what no package can hold: it would be refused after the training, when the run is evaluated."""
    if "modalities" in config:
        for problem in out_of_bounds(
            {name: OmegaConf.to_container(config[name]) for name in COMPOSED}
        ):
            yield f"{problem}, as docs/package.md has them; no package could hold the model"


def _device(config: DictConfig) -> Iterator[str]:
    """Yield what needs a GPU where this machine, which is to compute, has none."""
    elsewhere = config.cluster.kind == "slurm" and not is_worker()
    if elsewhere or num_gpus() != 0:
        return
    key = "precision" if "precision" in config else "trainer.precision"
    if OmegaConf.select(config, key) == "fp16":
        yield f"{key}=fp16 needs a GPU; use bf16 or fp32"
    if OmegaConf.select(config, "strategy.cpu_offload"):
        yield "strategy.cpu_offload needs a GPU, and several processes"


def _weights(config: DictConfig) -> Iterator[str]:
    """Yield each folder of weights, or of a tokenizer, that is not there; what may be an id of a hub is not asked."""
    parts = {f"modalities.{name}": part for name, part in (config.get("modalities") or {}).items()}
    parts = {
        name: part for name, part in parts.items() if str(part.get("_target_")).startswith(_OURS)
    }
    for where, part in {"backbone": config.get("backbone") or {}, **parts}.items():
        for key in ("source", "tokenizer"):
            value = OmegaConf.select(part, key) if isinstance(part, DictConfig) else None
            if not isinstance(value, str) or ":" in value:
                continue
            is_path = value.startswith(("/", ".", "~")) or value.count("/") > 1
            if is_path and not Path(value).expanduser().is_dir():
                yield f"'{where}.{key}': {value} is no folder; give a local folder, a hub id or bundled:NAME"


def _modules(config: DictConfig) -> Iterator[str]:
    """Yield that the folder of a person's own modules is not there."""
    folder = config.get("modules")
    if folder is not None and not Path(folder).is_dir():
        yield f"'modules': {folder} is no folder; name that of your Python modules, or drop it"


def _raw(config: DictConfig) -> Iterator[str]:
    """Yield the raw data that a `source` has yet to read and that are not there."""
    for name, cohort in config.cohorts.items():
        raw = cohort.source and cohort.source.get("raw")
        if not isinstance(raw, str) or is_remote(raw) or Path(cohort.root).expanduser().is_dir():
            continue
        if not (path := Path(raw).expanduser()).exists():
            yield (
                f"cohorts.{name}.source.raw: {path} is missing; set data.raw to the folder that holds {path.name} "
                "(docs/public_data.md says where public data come from)"
            )


def _tuning(config: DictConfig) -> Iterator[str]:
    """Yield that a run would wait in vain for a tuning score to stop early by."""
    trainer = config.get("trainer")
    if (
        trainer is None
        or trainer.patience is None
        or any(_may_be_tuned(config, c) for c in config.cohorts.values())
    ):
        return
    yield "'trainer.patience' waits for tuning scores, but splits.tuning is 0 everywhere; raise it, or drop patience"


def _may_be_tuned(config: DictConfig, cohort: Any) -> bool:
    if cohort.splits.tuning > 0:
        return True
    drawn = config.cv is not None or cohort.splits.group is not None
    # A file of splits of the cohort's own, or one that a `source` may write, counts instead of the share.
    unseen = is_remote(cohort.root) or cohort.source is not None
    return not drawn and (
        unseen or (Path(cohort.root).expanduser() / subject_splits_filepath).is_file()
    )
