"""Make a release: the packages of a run with calibration, sample and model card, checked before anybody may send it."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import OmegaConf

from clintune.config.moved import moved
from clintune.config.parts import modules_of
from clintune.core.errors import ConfigError
from clintune.core.files import atomic_path
from clintune.experiment.folds import Fold, folds, read_splits
from clintune.experiment.open import open_experiment
from clintune.experiment.provenance import check_data
from clintune.experiment.resume import check_trained, run_config
from clintune.inference.load import load
from clintune.launch.device import make_accelerator
from clintune.package.calibrations import CALIBRATION
from clintune.package.contents import ABOUT, Package
from clintune.package.manifest import write_manifest
from clintune.package.members import trained_members
from clintune.package.sample import write_sample
from clintune.publishing.card import write_card
from clintune.publishing.card_answers import read_answers, require_answers
from clintune.publishing.card_facts import read_facts
from clintune.publishing.gate import check_answers, check_evaluated, check_floor, check_rounded
from clintune.publishing.metadata import read_about
from clintune.publishing.privacy.leaks import search_for_canaries, search_for_patients


def make_release(
    run: Path,
    *,
    fold_name: str | None = None,
    canaries: Sequence[str] = (),
    draft: bool = False,
    places: Sequence[str] = (),
) -> Path:
    """Make the release of a run, or of one fold (`0-3`: repeat and fold), beside its package; return its folder.

    `places` say where data stand now, as `config.moved` reads them. No file may hold one of the strings `canaries`.
    Raises ConfigError for a run of folds without `fold_name`, or open questions where it is no draft; PackageError for a run
    that is not trained and evaluated, and for a release that holds what is a patient's: then it is not left behind.
    """
    config = moved(run_config(run), places, "publish")
    _check_fold(run, config.cv, fold_name)
    check_trained(run)
    answers = read_answers(run, config.name)
    if not draft:
        require_answers(answers, run)

    experiment = open_experiment(config)
    check_data(run, experiment)
    fold = _fold(folds(config, run, experiment.samples), fold_name)
    folders = trained_members(fold.folder / "package", config.ensemble)
    check_evaluated(run, fold.folder, folders)

    accelerator = make_accelerator(config.trainer)
    loaded = load(fold.folder / "package", device=accelerator.device, trusted=modules_of(config))
    members = dict(zip(folders, loaded.members, strict=True))
    check_floor(members)
    check_answers(experiment.samples, experiment.tasks)
    check_rounded(run, fold.folder / CALIBRATION)
    facts = read_facts(run, experiment, fold, members)

    release = fold.folder / "release"

    with atomic_path(release) as partial:
        partial.mkdir()
        for folder, package in members.items():
            _add_member(folder, package, partial if len(members) == 1 else partial / folder.name)
        if (fold.folder / CALIBRATION).exists():
            shutil.copyfile(fold.folder / CALIBRATION, partial / CALIBRATION)
        card = write_card(facts, answers, draft=draft, num_canaries=len(canaries))
        (partial / "README.md").write_text(card, encoding="utf-8")
        write_manifest(partial)
        search_for_canaries(partial, canaries)
        split = read_splits(fold.folder / "splits.parquet", experiment.samples)
        search_for_patients(
            partial, experiment.samples, np.flatnonzero(split != ""), facts.checksums
        )
    return release


def _check_fold(run: Path, cv: Any, fold_name: str | None) -> None:
    if cv is not None and fold_name is None:
        raise ConfigError(
            f"run {run} was cross-validated: it holds a model a fold and none of all data; train it with cv=null and "
            "publish that, or publish one fold: fold=0-3"
        )
    if cv is None and fold_name is not None:
        raise ConfigError(f"run {run} has no folds; leave fold={fold_name} out")


def _fold(found: Sequence[Fold], fold_name: str | None) -> Fold:
    """Return the fold to publish."""
    names = [fold.folder.name for fold in found]
    if fold_name is None:
        return found[0]
    if fold_name not in names:
        raise ConfigError(f"fold={fold_name} does not exist; the run has {', '.join(names)}")
    return found[names.index(fold_name)]


def _add_member(folder: Path, package: Package, target: Path) -> None:
    """Copy a package, without what only this machine or an unpublished package says, and with a sample."""
    shutil.copytree(folder, target, dirs_exist_ok=True)
    (target / "README.md").unlink()
    (target / ABOUT).write_text(
        OmegaConf.to_yaml(OmegaConf.create(read_about(folder))), encoding="utf-8"
    )
    package.model.to("cpu")  # GPUs convolve in less than float32
    write_sample(target, package)
    write_manifest(target)
