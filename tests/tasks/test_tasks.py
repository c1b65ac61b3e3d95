"""Promises of every kind of task: unknown targets are inert, scores match, state is enough."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from hydra.utils import instantiate
from hypothesis import given, settings
from hypothesis import strategies as st

from clintune.tasks.binary import Binary
from clintune.tasks.multiclass import Multiclass
from clintune.tasks.multilabel import Multilabel

CONFIGS = Path(__file__).parents[2] / "configs" / "task"


def make(kind):
    if kind == "binary":
        return Binary(label="x", class_weight="balanced")
    if kind == "multiclass":
        return Multiclass(label="x", classes=["a", "b", "c"])
    return Multilabel(label="x", phenotypes=["a", "b", "c"])


def draw_batch(task, rng, n):
    outputs = torch.tensor(
        rng.normal(size=(n, task.num_outputs)), dtype=torch.float32, requires_grad=True
    )
    if isinstance(task, Multiclass):
        targets = rng.integers(0, 3, (n, 1)).astype(np.float32)
    else:
        targets = rng.integers(0, 2, outputs.shape).astype(np.float32)
    targets[rng.random(targets.shape) < 0.3] = np.nan
    return outputs, torch.tensor(targets)


KINDS = ["binary", "multiclass", "multilabel"]


@pytest.mark.parametrize("kind", KINDS)
@given(seed=st.integers(0, 10_000), n=st.integers(1, 12))
@settings(max_examples=30, deadline=None)
def test_the_loss_of_a_batch_is_the_sum_over_its_parts(kind, seed, n):
    task = make(kind)
    rng = np.random.default_rng(seed)
    outputs, targets = draw_batch(task, rng, n)
    total, count = task.loss(outputs, targets)
    total.backward()
    assert count == (~targets.isnan()).sum()
    parts = [task.loss(outputs[i : i + 1], targets[i : i + 1]) for i in range(n)]
    torch.testing.assert_close(total, torch.stack([part for part, _ in parts]).sum())
    unknown = targets.isnan().expand_as(outputs)
    assert outputs.grad[unknown].count_nonzero() == 0
    assert outputs.grad.isfinite().all()
    assert outputs.grad[~unknown].all()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n", [0, 3])
def test_a_batch_without_labels_is_zero_and_in_the_graph(kind, n):
    task = make(kind)
    outputs = torch.full((n, task.num_outputs), float("inf"), requires_grad=True)
    width = 1 if kind == "multiclass" else task.num_outputs
    total, count = task.loss(outputs, torch.full((n, width), float("nan")))
    total.backward()
    assert total.item() == 0
    assert count == 0
    assert outputs.grad is not None
    assert outputs.grad.count_nonzero() == 0


@pytest.mark.parametrize("kind", KINDS)
def test_half_precision_outputs_are_scored_in_single_precision(kind):
    task = make(kind)
    outputs, targets = draw_batch(task, np.random.default_rng(0), 6)
    assert task.loss(outputs.bfloat16(), targets)[0].dtype == torch.float32
    assert task.predict(outputs.bfloat16()).dtype == torch.float32


@pytest.mark.parametrize("kind", KINDS)
def test_metrics_are_scores_of_equal_weights_auroc_first(kind):
    task = make(kind)
    outputs, targets = draw_batch(task, np.random.default_rng(3), 40)
    probabilities = task.predict(outputs.detach()).numpy()
    scores = {
        m.name: m(targets.numpy(), probabilities, np.full((2, 40), 3.0)) for m in task.metrics
    }
    values = task.score(targets.numpy(), probabilities)
    assert next(iter(values)) == "auroc"
    for name, value in values.items():
        assert type(value) is float
        assert scores[name] == pytest.approx([value, value])


@pytest.mark.parametrize("kind", KINDS)
def test_a_task_restored_from_its_state_computes_the_same(kind):
    task = make(kind)
    outputs, targets = draw_batch(task, np.random.default_rng(4), 30)
    task.fit(targets.numpy())
    restored = type(task)(label="x")
    restored.load_state(json.loads(json.dumps(task.state())))
    assert restored.output_names == task.output_names
    assert restored.loss(outputs, targets)[0] == task.loss(outputs, targets)[0]


@pytest.mark.parametrize("kind", KINDS)
def test_each_config_builds_its_task(kind):
    config = yaml.safe_load((CONFIGS / f"{kind}.yaml").read_text())
    assert config["label"] == "???"
    assert type(instantiate({**config, "label": "x"})) is type(make(kind))
