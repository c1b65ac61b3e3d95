"""A scoring job with everything open: the model, the samples, and proof that both are those it began with."""

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
    """A folder of its own, for what is needed until it is finished."""
    predictor: Predictor
    samples: Samples
    labelled: Mapping[str, NDArray[np.bool_]]
    """Of each task, the columns of whose targets all samples are known [T]."""
    lacking: dict[str, float]
    """Of each modality, the share of samples that have none of it."""
    lacked: dict[str, float]
    """The same in training, where that is known."""
    shards: list[Shard]
    device: torch.device


def open_job(out: Path) -> Job:
    """Open the job in a folder: fetch the package, write or fetch the cohort, open its index.

    Raises DataError where package or cohort are no longer those that the job began with, and whatever loading and
    opening raise.
    """
    config, device = read_job(out), local_device()
    cache = open_cache(config.data.cache, shared=config.data.shared)

    folder = fetch(config.package, config.revision)
    predictor = load(folder, device=device, trusted=config.trusted)
    lacked = read_limits(folder)["lacking"]
    first = predictor.members[0]
    if first.config.model.zero_fill:
        raise ConfigError(
            f"{config.package}: was trained with model.zero_fill, for comparison only; it cannot score"
        )

    ((name, cohort),) = config.cohorts.items()
    root = open_root(name, cohort, cache)
    labels = labelled_at(config.times, first.tasks, root)
    here = replace(cohort, root=str(root))

    work = out / WORK
    index = SampleIndex.open(
        name, here, first.model.encoders, labels, cache if config.keep else work
    )

    origin = {
        "clintune": __version__,
        "package_sha256": _package_sha256(folder),
        "calibration_sha256": value_sha256(
            {task: part.to_json() for task, part in predictor.calibrations.items()}
        ),
        "cohort_sha256": index.fingerprint,
    }
    _check_origin(out, origin)

    samples = Samples([index])
    return Job(
        config=config,
        cache=cache,
        work=work,
        predictor=predictor,
        samples=samples,
        labelled={
            name: np.asarray(~np.isnan(samples.targets(name)).any(axis=0)) for name in first.tasks
        },
        lacking={
            name: float((samples.num_items(name) == 0).mean()) for name in first.model.encoders
        },
        lacked=lacked,
        shards=cut(out, len(samples), config.shard_size),
        device=device,
    )


def _package_sha256(folder: Path) -> str:
    """Return the hash of the package's manifest, or of those of its members where it has none of its own."""
    package = package_folder(folder)
    if (package / MANIFEST).is_file():
        return file_sha256(package / MANIFEST)
    return value_sha256([file_sha256(member / MANIFEST) for member in members_found(package)])


def _check_origin(out: Path, origin: dict[str, str]) -> None:
    """Write down what the job is made from, or refuse to go on with anything else."""
    path = out / "shards" / ORIGIN
    with exclusive_lock(path, "the job"):
        if not path.exists():
            write_json(path, origin)
        before = read_json(path)
    for key, value in origin.items():
        if before[key] != value:
            what = key.removesuffix("_sha256")
            raise DataError(
                f"{out}: {what} is not as it was when the job began; restore it, or score into a new folder"
            )
