"""What a run itself can say on its card: all but a person's answers. It computes nothing."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clintune.config.analyses import find_analyses
from clintune.core.files import read_json, value_sha256
from clintune.evaluation.analysis import Analyses, evaluated_names, load_analyses, of_card
from clintune.evaluation.evaluate import METRICS
from clintune.evaluation.page import Page
from clintune.experiment.folds import Fold
from clintune.experiment.open import Experiment
from clintune.package.contents import Package
from clintune.publishing.metadata import read_about
from clintune.publishing.privacy.computed import only_checksums


@dataclass(frozen=True, kw_only=True)
class Facts:
    """A run's side of a card."""

    name: str
    fold: str | None
    num_members: int
    page: Page
    """The tasks, and the results of the run or fold as its `metrics.json` holds them."""
    analyses: Analyses
    """Those whose sections the card shows."""
    modalities: Mapping[str, str]
    """The class of each modality."""
    weights: Mapping[str, Mapping[str, Any]]
    """Source, revision and checksum of the pretrained weights of the backbone and of modalities."""
    adapter: str
    cohorts: list[str]
    provenance: Mapping[str, Any]

    @property
    def checksums(self) -> set[str]:
        """Return what identifies code and data."""
        known = self.provenance
        commit = str(known["commit"]).removesuffix("+")
        return only_checksums([commit, known["config_sha256"], *known["data_sha256"].values()])


def read_facts(
    run: Path, experiment: Experiment, fold: Fold, members: Mapping[Path, Package]
) -> Facts:
    """Collect the facts of a fold of an evaluated run; its `members` stand in these folders.

    Raises ConfigError where the module of an analysis that `evaluate` ran is not found.
    """
    config, metrics = experiment.config, read_json(fold.folder / METRICS)
    names = evaluated_names(metrics, config)
    find_analyses(names, "publish")
    weights = read_about(next(iter(members)))["weights"]
    modalities = {name: type(part).__name__ for name, part in experiment.modalities.items()}

    return Facts(
        name=config.name,
        fold=None if fold.number is None else fold.folder.name,
        num_members=len(members),
        page=Page(tasks=experiment.tasks, metrics=metrics),
        analyses=of_card(load_analyses(names)),
        modalities=modalities,
        weights={name: part for name, part in weights.items() if "sha256" in part},
        adapter=config.adapter.mode,
        cohorts=[index.name for index in experiment.samples.indexes],
        provenance=_provenance(run),
    )


def _provenance(run: Path) -> dict[str, Any]:
    """Return what identifies code and data, without paths of the machine."""
    record = read_json(run / "provenance.json")
    names = ("clintune", "commit", "created", "config_sha256", "python", "packages")
    kept = {name: record[name] for name in names}
    data = {name: value_sha256(cohort["files"]) for name, cohort in record["cohorts"].items()}
    return {**kept, "data_sha256": data}
