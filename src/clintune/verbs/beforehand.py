"""What a job lacks on this machine, found in a second and before torch is imported: packages, GPUs, folders, labels."""

from collections.abc import Iterator
from pathlib import Path
from shutil import which
from typing import Any

from meds.schema import subject_splits_filepath
from omegaconf import DictConfig

from clintune.cohort.checks import folder_problems
from clintune.core.errors import ConfigError
from clintune.core.extras import how_to_install, is_installed
from clintune.core.gpus import num_gpus
from clintune.core.remote import is_remote
from clintune.training.processes import is_placed
from clintune.training.tracking import PACKAGES


def check_beforehand(config: DictConfig, verb: str) -> None:
    """Refuse a job that could only fail later; raise one ConfigError that names everything it lacks."""
    _refuse(
        verb, [*_packages(config), *_cluster(config.cluster), *folder_problems(config), *_raw(config), *_tuning(config)]
    )


def check_folders(config: DictConfig, verb: str) -> None:
    """Refuse work on a run whose folders are gone: where it trained and by what is no matter any more."""
    _refuse(verb, list(folder_problems(config)))


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
    if is_placed():
        return
    if cluster.kind == "slurm":
        if not is_installed("submitit"):
            yield f"cluster=slurm needs submitit; {how_to_install('submitit')}"
        elif which("sbatch") is None:
            yield "cluster=slurm: sbatch is not on this machine; run on a login node, or use cluster=local"
    elif cluster.gpus_per_node and (there := num_gpus()) is not None and there < cluster.gpus_per_node:
        yield (
            f"'cluster.gpus_per_node' is {cluster.gpus_per_node}, but this machine has {there} GPUs that can be used; "
            "lower it, or give cluster.processes"
        )


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
    if trainer is None or trainer.patience is None or any(_may_be_tuned(config, c) for c in config.cohorts.values()):
        return
    yield "'trainer.patience' waits for tuning scores, but splits.tuning is 0 everywhere; raise it, or drop patience"


def _may_be_tuned(config: DictConfig, cohort: Any) -> bool:
    if cohort.splits.tuning > 0:
        return True
    drawn = config.cv is not None or cohort.splits.group is not None
    # A file of splits of the cohort's own, or one that a `source` may write, counts instead of the share.
    unseen = is_remote(cohort.root) or cohort.source is not None
    return not drawn and (unseen or (Path(cohort.root).expanduser() / subject_splits_filepath).is_file())
