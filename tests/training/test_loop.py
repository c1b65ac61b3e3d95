"""The loop: gradients do not depend on how a batch is cut; it stops when told or when wrong."""

import json

import polars as pl
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from clintune.core.errors import ClintuneError, DataError, TrainingError
from clintune.modalities.static import Static
from clintune.tasks.binary import Binary
from conftest import train

PLAIN = ["adapter.dropout=0", "model.modality_dropout=0"]


class Exploding(Binary):
    """A task whose loss is infinite."""

    def loss(self, outputs, targets):
        total, count = super().loss(outputs, targets)
        return total + float("inf"), count


class Poisoned(Static):
    """Facts whose extreme values become NaN."""

    def encode(self, tensors):
        return (
            super()
            .encode(tensors)
            .masked_fill((tensors["value"] > 4.5)[:, None, None], float("nan"))
        )


class Idle(Static):
    """Facts with a weight that nothing reads."""

    def build(self, statistics):
        super().build(statistics)
        self.encoder.idle = nn.Parameter(torch.zeros(3))


def history(run):
    return [json.loads(line) for line in (run / "history.jsonl").read_text().splitlines()]


def relabel(cohort, function):
    path = cohort / "labels" / "deterioration.parquet"
    function(pl.read_parquet(path)).write_parquet(path)


@pytest.fixture
def gradients(monkeypatch):
    """Record the gradients of every step, in the order of the optimizer's groups."""
    seen, step = [], torch.optim.AdamW.step

    def record(self, *args, **kwargs):
        parameters = [p for group in self.param_groups for p in group["params"]]
        seen.append([None if p.grad is None else p.grad.clone() for p in parameters])
        return step(self, *args, **kwargs)

    monkeypatch.setattr(torch.optim.AdamW, "step", record)
    return seen


def test_the_gradient_is_that_of_one_whole_batch(recipe, cohort, gradients):
    known = pl.when(pl.int_range(pl.len()) % 3 != 0).then("boolean_value")
    relabel(cohort, lambda table: table.with_columns(boolean_value=known))
    for size in (8, 4, 3, 1):
        train(
            recipe(cohort),
            *PLAIN,
            "trainer.max_steps=1",
            f"trainer.micro_batch_size={size}",
            "trainer.clip=1e9",
        )
    whole, *cut = gradients

    assert any(float(gradient.abs().max()) > 1e-4 for gradient in whole)
    for other in cut:
        for expected, found in zip(whole, other, strict=True):
            torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-4)


def test_a_loss_that_is_not_finite_names_step_and_samples(recipe):
    with pytest.raises(TrainingError, match=r"^step 1: .*samples tiny#\d+(, tiny#\d+){7};"):
        train(recipe(), "tasks.outcome._target_=test_loop.Exploding")


def test_the_one_sample_with_outputs_not_finite_is_named(recipe, cohort):
    shard = cohort / "data" / "0.parquet"
    extreme = (
        pl.when((pl.col("subject_id") == 1) & (pl.col("code") == "AGE"))
        .then(9000.0)
        .otherwise("numeric_value")
    )
    pl.read_parquet(shard).with_columns(numeric_value=extreme.cast(pl.Float32)).write_parquet(shard)
    with pytest.raises(TrainingError, match=r"^step [123]: .*samples tiny#0;") as caught:
        train(
            recipe(cohort),
            "modalities.static._target_=test_loop.Poisoned",
            "model.modality_dropout=0",
        )
    assert "\n" not in str(caught.value)


def test_a_trainable_tensor_that_cannot_move_is_named(recipe):
    with pytest.raises(
        TrainingError,
        match=r"1 of \d+ trainable tensors did not change: modalities\.static\.encoder\.idle;",
    ):
        train(recipe(), "modalities.static._target_=test_loop.Idle", "model.modality_dropout=0")


@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("tasks.outcome.weight=0", "every task has weight 0: nothing would be learned"),
        ("backbone.max_tokens=1", "backbone.max_tokens=1 drops the oldest: raise it"),
        ("trainer.lr=0", "'trainer.lr' is 0: nothing would be learned"),
    ],
)
def test_a_recipe_under_which_nothing_can_learn_is_told_why(recipe, word, says):
    with pytest.raises(ClintuneError) as caught:
        train(recipe(), word)
    assert says in str(caught.value)
    assert len(str(caught.value)) < 350


def test_a_long_warm_up_trains(recipe):
    words = [
        "trainer.warmup=0.1",
        "trainer.max_steps=400000",
        "trainer.lr=1e-7",
        "trainer.tune_every=1",
        *PLAIN,
    ]
    run = train(recipe(), *words, "trainer.patience=2")
    assert len(history(run)) >= 3


def test_patience_stops_training_and_the_best_step_is_kept(recipe):
    words = ["trainer.patience=3", "trainer.tune_every=1", "trainer.max_steps=60"]
    run = train(recipe(), *words)
    scores = [record["tuning/score"] for record in history(run)]
    best = scores.index(max(scores))
    assert len(scores) == best + 1 + 3 < 60
    kept = load_file(run / "checkpoints" / "best.safetensors")
    packaged = load_file(run / "package" / "parts.safetensors")
    assert all(torch.equal(kept[name], packaged[name]) for name in kept.keys() & packaged.keys())
    (last,) = (run / "checkpoints").glob("step-*")
    assert json.loads((last / "progress.json").read_text())["best_step"] == best + 1
    shorter = train(
        recipe(), *words[1:2], f"trainer.max_steps={len(scores)}", "trainer.schedule=constant"
    )
    assert len(history(shorter)) == len(scores)


def test_a_tuning_metric_that_is_undefined_says_what_to_do(recipe, cohort):
    relabel(cohort, lambda table: table.with_columns(boolean_value=pl.int_range(pl.len()) < 12))
    with pytest.raises(DataError, match=r"is undefined on the tuning split.*trainer\.metric=loss"):
        train(recipe(cohort))
    assert history(train(recipe(cohort), "trainer.metric=loss"))[-1]["step"] == 6


def test_without_a_tuning_split_the_last_average_is_packaged(recipe, cohort):
    path = cohort / "metadata" / "subject_splits.parquet"
    table = pl.read_parquet(path).with_columns(split=pl.col("split").replace("tuning", "train"))
    table.write_parquet(path)
    run = train(recipe(cohort))
    assert not any("tuning/score" in record for record in history(run))
    (last,) = (run / "checkpoints").glob("step-*")
    average, packaged = (
        load_file(last / "average.safetensors"),
        load_file(run / "package" / "parts.safetensors"),
    )
    shared = average.keys() & packaged.keys()
    assert shared
    assert all(torch.equal(average[name], packaged[name]) for name in shared)


@pytest.mark.parametrize("metric", ["brier", "loss"])
def test_the_lowest_step_is_kept_where_lower_is_better(recipe, metric):
    run = train(recipe(), f"trainer.metric={metric}", "trainer.tune_every=1")
    key = "tuning/loss" if metric == "loss" else f"tuning/outcome/{metric}"
    values = {record["step"]: record[key] for record in history(run)}
    (last,) = (run / "checkpoints").glob("step-*")
    assert json.loads((last / "progress.json").read_text())["best_step"] == min(
        values, key=values.get
    )
