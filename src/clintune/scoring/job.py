"""Open a scoring job: the model and the samples, and proof that it began with the same ones."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from clintune import __version__
from clintune.cohort.index import SampleIndex
from clintune.cohort.samples import Samples
from clintune.cohort.source import open_root
from clintune.config.schema import Scoring
from clintune.core.errors import ConfigError, DataError
from clintune.core.files import file_sha256, read_json, value_sha256, write_json
from clintune.core.locks import exclusive_lock
from clintune.experiment.limits import read_limits
from clintune.inference.load import fetch, load, package_folder
from clintune.inference.predictor import Predictor
from clintune.inference.times import labelled_at
from clintune.launch.device import local_device
from clintune.modalities.base import readers_of
from clintune.package.contents import Package
from clintune.package.manifest import MANIFEST
from clintune.package.members import members_found
from clintune.scoring.job_folder import ORIGIN, WORK, Shard, cut, read_job
from clintune.storage.cache_folder import open_cache


@dataclass(frozen=True, kw_only=True)
class Job:
    """A scoring job with its model and data open."""

    config: Scoring
    cache: Path
    work: Path
    """The job's own folder for what it needs until it is finished."""
    predictor: Predictor
    samples: Samples
    labelled: Mapping[str, NDArray[np.bool_]]
    """For each task, whether a column of its targets is known for all samples, [T]."""
    lacking: dict[str, float]
    """For each modality, the share of samples that lack it."""
    lacked: dict[str, float]
    """The same share in training, if it is known."""
    shards: list[Shard]
    device: torch.device


def open_job(out: Path) -> Job:
    """Open the job in a folder: fetch the package, write or fetch the cohort, open its index.

    Raises DataError if package or cohort are no longer those with which the job began, and whatever
    loading and opening raise.
    """
    config, device = read_job(out), local_device()
    cache = open_cache(config.data.cache, shared=config.data.shared)

    # The model.
    folder = fetch(config.package, config.revision)
    predictor = load(folder, device=device, trusted=config.trusted)
    lacked = read_limits(folder)["lacking"]
    first = predictor.members[0]
    if first.config.model.zero_fill:
        raise ConfigError(
            f"{config.package}: was trained with model.zero_fill, for comparison only; "
            "it cannot score"
        )

    # The samples.
    index = _open_index(config, first, cache, out / WORK)
    _check_origin(out, _origin(folder, predictor, index))
    samples = Samples([index])
    targets = {name: samples.targets(name) for name in first.tasks}
    return Job(
        config=config,
        cache=cache,
        work=out / WORK,
        predictor=predictor,
        samples=samples,
        labelled={name: np.asarray(~np.isnan(t).any(axis=0)) for name, t in targets.items()},
        lacking={
            name: float((samples.num_items(name) == 0).mean()) for name in first.model.encoders
        },
        lacked=lacked,
        shards=cut(out, len(samples), config.shard_size),
        device=device,
    )


def _open_index(config: Scoring, member: Package, cache: Path, work: Path) -> SampleIndex:
    """Write or fetch the cohort of a job, and open its index; with `keep` it stays in the cache."""
    ((name, cohort),) = config.cohorts.items()
    root = open_root(name, cohort, cache)
    labels = labelled_at(config.times, member.tasks, root)
    here = replace(cohort, root=str(root))
    return SampleIndex.open(
        name, here, readers_of(member.model.encoders), labels, cache if config.keep else work
    )


def _origin(folder: Path, predictor: Predictor, index: SampleIndex) -> dict[str, str]:
    """Return what identifies the package and the cohort of a job."""
    calibrations = {task: part.to_json() for task, part in predictor.calibrations.items()}
    return {
        "clintune": __version__,
        "package_sha256": _package_sha256(folder),
        "calibration_sha256": value_sha256(calibrations),
        "cohort_sha256": index.fingerprint,
    }


def _package_sha256(folder: Path) -> str:
    """Return the hash of a package's manifest; without one, of the manifests of its members."""
    package = package_folder(folder)
    if (package / MANIFEST).is_file():
        return file_sha256(package / MANIFEST)
    return value_sha256([file_sha256(member / MANIFEST) for member in members_found(package)])


def _check_origin(out: Path, origin: dict[str, str]) -> None:
    """Write down what a new job is made from; refuse to go on with anything else."""
    path = out / "shards" / ORIGIN
    with exclusive_lock(path, "the job"):
        if not path.exists():
            write_json(path, origin)
        before = read_json(path)

    for key, value in origin.items():
        if before[key] != value:
            what = key.removesuffix("_sha256")
            raise DataError(
                f"{out}: {what} is not as it was when the job began; "
                "restore it, or score into a new folder"
            )
