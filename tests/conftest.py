"""A cohort of 40 made-up subjects, and recipes over it that train in a second or two."""

import functools
import gc
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from clintune.launch.signals import restored_signal_handlers

# Sums depend on the number of threads, here and in the processes of tests.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# A runner in the background ignores these, and so would the processes that tests send them to.
for ignored in (signal.SIGINT, signal.SIGHUP):
    if signal.getsignal(ignored) == signal.SIG_IGN:
        signal.signal(ignored, signal.default_int_handler)

settings.register_profile("suite", deadline=None, max_examples=50)
settings.load_profile("suite")

# Collecting tests imports much: the garbage collector waits for pytest_collection_finish.
gc.disable()

KINDS = ("notes", "imaging", "wearable", "static")
WEIGHTS = ("parts.safetensors", "adapter_model.safetensors")

RECIPE = """# A tiny run over every kind of modality.
defaults:
  - base
  - modality: [notes, imaging_cnn, wearable_cnn, static]
  - task@tasks.outcome: binary
  - override /backbone: tiny
  - _self_
cohorts: {tiny: {root: ROOT}}
modalities:
  notes:
    source: random
    tokenizer: bundled:minilm
    config: {model_type: bert, vocab_size: 30522, hidden_size: 16, num_hidden_layers: 1,
      num_attention_heads: 2, intermediate_size: 32, max_position_embeddings: 64}
    max_pieces: 4
  imaging: {config: {architecture: cnn, widths: [4, 8]}, views: 1, max_pieces: 2}
  wearable: {width: 8, depth: 1, max_pieces: 2}
  static: {width: 8}
tasks: {outcome: {label: deterioration}}
adapter: {dropout: 0.1}
model: {modality_dropout: 0.2, readout: trained}
trainer: {precision: fp32, max_steps: 6, batch_size: 8, micro_batch_size: 4, lr: 1.0e-3,
  head_lr: null, average: 0.9, tune_every: 2}
data: {cache: CACHE}
runs: RUNS
"""


def pytest_collection_finish() -> None:
    """Spare the collector all that was imported: each run collects garbage at its end."""
    gc.collect()
    gc.freeze()
    gc.enable()


@pytest.fixture(scope="session", autouse=True)
def cheap_files() -> Iterator[None]:
    """Wait for no disk: nobody pulls the plug here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        yield


@pytest.fixture(autouse=True)
def signals() -> Iterator[None]:
    """Give the tests' own process its signals back, which the command line handles."""
    with restored_signal_handlers():
        yield


@pytest.fixture(scope="session")
def quickstart(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the root of the cohort; tests that change it copy it first."""
    from clintune.cohort.generators.quickstart import write_quickstart

    root = tmp_path_factory.mktemp("cohort") / "tiny"
    write_quickstart(root, subjects=40, image_size=32, signal_days=1)
    return root


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def cohort(quickstart: Path, tmp_path: Path) -> Path:
    """Return a copy of the cohort that the test may break."""
    return Path(shutil.copytree(quickstart, tmp_path / "cohort"))


@pytest.fixture
def real_data() -> Path:
    """Return the folder of public data sets as they are downloaded; few machines have them."""
    if "CLINTUNE_DATA" not in os.environ:
        pytest.skip("CLINTUNE_DATA names no folder with the real data")
    return Path(os.environ["CLINTUNE_DATA"])


@pytest.fixture
def recipe(quickstart: Path, cache: Path, tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes a recipe over a cohort, by default the shared one."""
    return lambda root=quickstart, extra="": write_recipe(tmp_path, root, cache, extra)


@pytest.fixture(scope="session")
def shared_run(
    quickstart: Path, cache: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., Path]:
    """Return a function that trains with overrides, the same only once; copy a run to change it."""

    @functools.cache
    def run(*overrides: str, extra: str = "") -> Path:
        return train(
            write_recipe(tmp_path_factory.mktemp("shared"), quickstart, cache, extra), *overrides
        )

    return run


@pytest.fixture(scope="session")
def run(shared_run: Callable[..., Path]) -> Path:
    """Return the shared run without overrides."""
    return shared_run()


@pytest.fixture
def run_copy(shared_run: Callable[..., Path], tmp_path: Path) -> Callable[..., Path]:
    """Return a function that copies a shared run, for a test that changes it."""
    return lambda *overrides: Path(shutil.copytree(shared_run(*overrides), tmp_path / "run"))


def write_recipe(folder: Path, root: Path, cache: Path, extra: str = "") -> Path:
    """Write a recipe over the cohort at `root`, with its runs below `folder`; return its path."""
    text = (
        RECIPE.replace("ROOT", str(root))
        .replace("CACHE", str(cache))
        .replace("RUNS", str(folder / "runs"))
    )
    (folder / "recipe.yaml").write_text(text + extra)
    return folder / "recipe.yaml"


def train(recipe: Path, *overrides: str) -> Path:
    """Train a recipe in this process; return the run folder."""
    from clintune.config.compose import compose_recipe
    from clintune.training.run import train_run

    run = train_run(compose_recipe(recipe, overrides))
    assert run is not None
    return run


def grow_trees(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a boosted readout grow trees on few subjects, whether or not they help."""
    from clintune.training import boosting

    choose = boosting._choose
    monkeypatch.setattr(boosting, "LEAST_SUBJECTS", 3)
    monkeypatch.setattr(boosting, "MOST_ROUNDS", 5)
    monkeypatch.setattr(boosting, "_choose", lambda *what: choose(*what)._replace(rounds=5))


def evaluate(run: Path, *words: str) -> None:
    """Evaluate a run quickly, in this process."""
    from clintune.cli import main

    assert main(["evaluate", str(run), "--bootstrap", "10", "--no-ablations", *words]) == 0


def weights(run: Path) -> list[bytes]:
    """Return the tensors' bytes of the package and of the last step, which may not be the best."""
    last = sorted((run / "checkpoints").glob("step-*"))[-1]
    return [
        path.read_bytes()
        for path in [*(run / "package" / name for name in WEIGHTS), *sorted(last.iterdir())]
    ]


def run_python(
    *words: str, cwd: Path | None = None, first: Path | None = None
) -> "subprocess.CompletedProcess[str]":
    """Run Python with clintune's source on its path, after the folder `first`; never raises."""
    source = str(Path(__file__).parents[1] / "src")
    environment = {
        **os.environ,
        "PYTHONPATH": source if first is None else f"{first}{os.pathsep}{source}",
    }
    return subprocess.run(
        [sys.executable, *words], capture_output=True, text=True, cwd=cwd, env=environment
    )


def plant(root: Path, seconds: float, *kinds: str) -> None:
    """Give each labelled subject a new item of each kind, `seconds` after its prediction time."""
    from datetime import timedelta

    import numpy as np
    import polars as pl
    from PIL import Image

    (root / "planted").mkdir(exist_ok=True)
    Image.fromarray(np.eye(32, dtype=np.uint8) * 255).save(root / "planted" / "image.png")
    counts = np.full((1, 1440), 900.0, np.float32)
    np.savez(
        root / "planted" / "signal.npz",
        signal=counts,
        rate_hz=1 / 60,
        channels=np.array(["activity"]),
    )
    items = {
        "notes": {
            "code": "NOTE//PROGRESS",
            "text_value": "Sudden collapse and shock; transferred at once.",
        },
        "imaging": {"code": "IMAGE//CXR", "image_path": "planted/image.png"},
        "wearable": {"code": "ACTIGRAPHY", "waveform_path": "planted/signal.npz"},
        "static": {"code": "AGE", "numeric_value": 18.0},
    }
    labels = pl.read_parquet(root / "labels" / "deterioration.parquet").select(
        "subject_id", "prediction_time"
    )
    moments = dict(labels.iter_rows())
    for shard in sorted((root / "data").glob("*.parquet")):
        table = pl.read_parquet(shard)
        new = [
            {
                "subject_id": subject,
                "time": moments[subject] + timedelta(seconds=seconds),
                **items[kind],
            }
            for subject in table["subject_id"].unique().sort()
            for kind in kinds
        ]
        pl.concat([table, pl.DataFrame(new, schema=table.schema)]).write_parquet(shard)
