"""Make a release: the packages of a run with calibration, sample and model card.

It is checked before anybody may send it.
"""

import shutil
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import OmegaConf

from clintune.cohort.samples import Samples
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
    """Make the release of a run, or of one fold, beside its package; return its folder.

    A fold is named by repeat and fold, as `0-3`. `places` say where data stand now, as
    `config.moved` reads them. No file may hold one of the strings `canaries`.

    Raises ConfigError for a run of folds without `fold_name`, or open questions where it is no
    draft; PackageError for a run that is not trained and evaluated, and for a release that holds
    what is a patient's: then it is not left behind.
    """
    # Ask for answers before anything is opened.
    config = moved(run_config(run), places, "publish")
    _check_fold(run, config.cv, fold_name)
    check_trained(run)
    answers = read_answers(run, config.name)
    if not draft:
        require_answers(answers, run)

    # Open the run; its packages must be those that were evaluated.
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

    # Write the release and search it; it appears only where nothing was found.
    release = fold.folder / "release"
    with atomic_path(release) as partial:
        card = write_card(facts, answers, draft=draft, num_canaries=len(canaries))
        _write(partial, fold, members, card)
        _search(partial, experiment.samples, fold, canaries, facts.checksums)
    return release


def _search(
    folder: Path,
    samples: Samples,
    fold: Fold,
    canaries: Sequence[str],
    checksums: Collection[str],
) -> None:
    """Raise PackageError where a file below `folder` holds a canary or what is a patient's."""
    search_for_canaries(folder, canaries)
    split = read_splits(fold.folder / "splits.parquet", samples)
    search_for_patients(folder, samples, np.flatnonzero(split != ""), checksums)


def _write(folder: Path, fold: Fold, members: Mapping[Path, Package], card: str) -> None:
    """Write the members, their calibration and the card to `folder`."""
    folder.mkdir()
    for home, package in members.items():
        _add_member(home, package, folder if len(members) == 1 else folder / home.name)
    if (fold.folder / CALIBRATION).exists():
        shutil.copyfile(fold.folder / CALIBRATION, folder / CALIBRATION)
    (folder / "README.md").write_text(card, encoding="utf-8")
    write_manifest(folder)


def _check_fold(run: Path, cv: Any, fold_name: str | None) -> None:
    if cv is not None and fold_name is None:
        raise ConfigError(
            f"run {run} was cross-validated: it holds a model a fold and none of all data; train "
            "it with cv=null and publish that, or publish one fold: fold=0-3"
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
    """Copy a package, and add a sample.

    What only this machine or an unpublished package says is left out.
    """
    shutil.copytree(folder, target, dirs_exist_ok=True)
    (target / "README.md").unlink()
    about = OmegaConf.to_yaml(OmegaConf.create(read_about(folder)))
    (target / ABOUT).write_text(about, encoding="utf-8")
    package.model.to("cpu")  # GPUs convolve in less than float32
    write_sample(target, package)
    write_manifest(target)
