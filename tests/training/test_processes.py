"""Two processes train what one does: missing labels, absent modalities and ragged batches included."""

import json

import polars as pl
import pytest
from safetensors.numpy import load_file

from conftest import run_python, train


def test_two_processes_give_the_losses_and_weights_of_one(recipe, cohort, tmp_path):
    labels = cohort / "labels" / "deterioration.parquet"
    table = pl.read_parquet(labels)
    missing = pl.when(pl.int_range(pl.len()) % 3 != 0).then("boolean_value")
    table.with_columns(boolean_value=missing).write_parquet(labels)
    other = pl.when(pl.int_range(pl.len()) % 3 != 1).then(~pl.col("boolean_value"))
    table.with_columns(boolean_value=other).write_parquet(labels.with_name("other.parquet"))
    path = recipe(cohort)
    path.write_text(
        path.read_text()
        .replace("  - task@tasks.outcome: binary\n", "  - task@tasks.outcome: binary\n  - task@tasks.other: binary\n")
        .replace("{label: deterioration}", "{label: deterioration}, other: {label: other, weight: 0.5}")
    )
    words = ["micro_batch_size=2", "max_steps=4"]
    words = [f"trainer.{word}" for word in words]
    alone = train(path, *words)
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = run_python(*launch, "-m", "clintune.cli", "train", str(path), f"runs={tmp_path / 'two'}", *words)
    assert done.returncode == 0, done.stderr[-3000:]
    (together,) = (tmp_path / "two" / "recipe").iterdir()
    for one, two in zip(_history(alone), _history(together), strict=True):
        assert two == pytest.approx(one, abs=1e-5)
    for name in ("parts.safetensors", "adapter_model.safetensors"):
        one, two = load_file(alone / "package" / name), load_file(together / "package" / name)
        assert one.keys() == two.keys()
        assert max(float(abs(one[key] - two[key]).max()) for key in one) < 1e-5


def _history(run):
    lines = (run / "history.jsonl").read_text().splitlines()
    return [{key: value for key, value in json.loads(line).items() if value is not None} for line in lines]
