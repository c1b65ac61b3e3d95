"""A trial: one method on one experiment with one seed.

Here stands what a trial is, what determines its result, and where the result is.
"""

import json
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, replace
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import Any

from clintune import __version__
from clintune.benchmark.external.home import peer_files
from clintune.benchmark.method_names import PEERS, is_own, split_name
from clintune.benchmark.suite import Suite
from clintune.config.compose import compose_recipe
from clintune.config.recipes import find_recipe
from clintune.config.schema import Config
from clintune.config.suggest import nearest
from clintune.core.errors import ConfigError
from clintune.core.files import value_sha256

ABOUT = "trial.json"
_ELSEWHERE = ("runs", "modules", "data", "cluster", "tracker")
"""Sections of a config that say where and by whom, not what.

Of a cohort, its `root`, `source` and `storage` are such keys.
"""
_ROOM = Path(__file__).parent
_LEARNERS = ("classical.py", "features.py", "learners.py")
_OWN_CODE = [_ROOM / "finetuned.py"]
_BASELINE_CODE = [_ROOM / "held_out.py", *(_ROOM / "baselines" / name for name in _LEARNERS)]


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One method on one experiment, in one of its levels (empty: it has none), with one seed.

    `config` is resolved. `peer_seconds` limits each fit of a peer; None for every other method,
    which it does not concern.
    """

    experiment: str
    level: str
    method: str
    seed: int
    missing: tuple[float, ...]
    config: Config
    peer_seconds: float | None = None

    @property
    def title(self) -> str:
        """Return its name for people."""
        words = [self.experiment, self.level, self.method, f"seed {self.seed}"]
        return " ".join(filter(None, words))

    def key(self, data: str) -> str:
        """Return a hash of everything that determines its result.

        `data` is the fingerprint of its cohorts.
        """
        whole = asdict(self.config)
        what = {name: value for name, value in whole.items() if name not in _ELSEWHERE}
        for cohort in what["cohorts"].values():
            for name in ("root", "source", "storage"):
                del cohort[name]
        limits = [] if self.peer_seconds is None else [self.peer_seconds]
        causes = [what, self.method, self.missing, data, _code(self.method), *limits]
        return value_sha256(causes)[:16]

    def folder(self, out: Path, data: str) -> Path:
        """Return where its result is below `out`."""
        return out / "trials" / self._subfolder / f"{self.seed}-{self.key(data)}"

    def run(self, out: Path, data: str) -> Path:
        """Return the folder of its run below `out`, where the method is clintune's own."""
        return out / "runs" / self._subfolder / f"{self.seed}-{self.key(data)}"

    @property
    def _subfolder(self) -> Path:
        return Path(self.experiment, self.level or "all", self.method.replace("/", "."))


def plan(suite: Suite, overrides: Sequence[str]) -> list[Trial]:
    """Return the trials of a suite, in the order in which they run.

    `overrides` are those of every recipe. The seed is that of the model and, for all methods alike,
    of the splits; a file of folds stays as it is. Raises ConfigError as `compose_recipe` does, and
    for an override of the seed.
    """
    if any(word.startswith("seed=") for word in overrides):
        raise ConfigError("a benchmark has several seeds; write seeds=[0,1,2] rather than seed=0")

    trials = []
    for name, experiment in suite.experiments.items():
        recipe = find_recipe(experiment.recipe)
        for level, changes in (experiment.levels or {"": []}).items():
            common = [*experiment.overrides, *changes, *overrides]
            untouched = compose_recipe(recipe, common)
            where = f"'experiments.{name}.baselines'"
            _check_modalities(where, experiment.baselines, untouched.modalities)

            # Every method's config, then a trial a seed.
            configs = dict.fromkeys(experiment.baselines, untouched)
            for method, own in suite.clintune.items():
                configs[method] = compose_recipe(recipe, [*common, *own])
            for method, config in configs.items():
                trials += [
                    Trial(
                        experiment=name,
                        level=level,
                        method=method,
                        seed=seed,
                        missing=tuple(suite.missing),
                        config=_seeded(config, seed),
                        peer_seconds=suite.peer_seconds if method in PEERS else None,
                    )
                    for seed in suite.seeds
                ]

    return trials


def read_about(folder: Path) -> dict[str, Any]:
    """Return what a finished trial says of itself."""
    about: dict[str, Any] = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
    return about


def _check_modalities(where: str, baselines: Sequence[str], known: Collection[str]) -> None:
    """Raise ConfigError for a baseline of a modality that the recipe does not have."""
    for baseline in baselines:
        _, modality = split_name(baseline)
        if modality is not None and modality not in known:
            raise ConfigError(
                f"{where}: '{baseline}' is of modality '{modality}', which the recipe lacks"
                f"{nearest(modality, known)}"
            )


def _seeded(config: Config, seed: int) -> Config:
    cohorts = {
        name: replace(cohort, splits=replace(cohort.splits, seed=seed))
        for name, cohort in config.cohorts.items()
    }
    return replace(config, seed=seed, cohorts=cohorts)


def _code(method: str) -> list[str]:
    """Return the versions of the code that a method's result depends on."""
    own = _OWN_CODE if is_own(method) else _BASELINE_CODE
    paths = peer_files(method) if method in PEERS else own
    files = [path.read_bytes() for path in paths]
    learner = [] if is_own(method) or method in PEERS else [version("scikit-learn")]
    return [__version__, sha256(b"".join(files)).hexdigest(), *learner]
