"""Who was in the training data: told of a model that remembers, not of one that never saw them."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from clintune.config.compose import load_config
from clintune.package.load import load_package
from clintune.publishing.membership import log_losses, membership_inference
from clintune.training.partition import read_splits, rows_by_split
from clintune.training.strategy import make_accelerator
from clintune.training.workspace import open_workspace
from conftest import train


def attacked(run):
    """Return the interval of the attack on a run, and the workspace and rows that it was made on."""
    config = load_config(run / "recipe.yaml")
    workspace = open_workspace(config)
    rows = rows_by_split(read_splits(run / "splits.parquet", workspace.samples))
    members = [load_package(run / "package")]
    return membership_inference(workspace, members, rows, make_accelerator(config), replicates=100), workspace, rows


def test_a_model_that_remembers_its_subjects_gives_them_away_and_an_untrained_one_does_not(recipe):
    settings = ["model.modality_dropout=0", "adapter.dropout=0", "trainer.average=0", "trainer.tune_every=100"]
    remembers, *_ = attacked(train(recipe(), *settings, "trainer.max_steps=100", "trainer.lr=1e-2"))
    untrained, *_ = attacked(train(recipe(), *settings, "trainer.max_steps=1", "trainer.lr=1e-6"))
    assert remembers.value > 0.75
    assert remembers.low > 0.5
    assert abs(untrained.value - 0.5) < 0.15
    assert remembers.value > untrained.value + 0.2


def test_the_losses_are_those_of_the_known_answers():
    targets = np.array([[1, np.nan], [0, 1]], np.float32)
    probabilities = np.array([[0.8, 0.3], [0.8, 0.0]], np.float32)
    losses = log_losses(targets, probabilities)
    assert losses[:, 0] == pytest.approx(-np.log([0.8, 0.2]))
    assert np.isnan(losses[0, 1])
    assert np.isfinite(losses[1, 1])
    classes = log_losses(np.array([[2], [np.nan]], np.float32), np.array([[0.1, 0.2, 0.7]] * 2, np.float32))
    assert classes[0, 0] == pytest.approx(-np.log(0.7))
    assert np.isnan(classes[1, 0])


def test_the_auroc_is_that_of_the_losses_by_sklearn(recipe):
    from clintune.evaluation.ablations import WHOLE
    from clintune.publishing.membership import _predict, mean_losses

    run = train(recipe(), "trainer.max_steps=20", "trainer.lr=1e-2")
    found, workspace, rows = attacked(run)
    both = np.concatenate([rows["train"], rows["held_out"]])
    accelerator = make_accelerator(workspace.config)
    probabilities = _predict(workspace, load_package(run / "package"), both, accelerator)[WHOLE]
    scores = -mean_losses(workspace.samples, both, probabilities)
    is_member = np.arange(len(both)) < len(rows["train"])
    assert found.value == pytest.approx(roc_auc_score(is_member, scores))
    assert found.n_samples == len(both)
