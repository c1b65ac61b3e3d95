"""Who was in the training data: told of a model that remembers, not of one that never saw them."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from clintune.config.compose import load_config
from clintune.experiment.folds import read_splits, rows_by_split
from clintune.experiment.open import open_experiment
from clintune.launch.device import make_accelerator
from clintune.package.load import load_package
from clintune.publishing.privacy.membership import membership_inference
from conftest import train


def attacked(run):
    """Return the interval of the attack on a run, and the experiment and rows that it was made on."""
    config = load_config(run / "recipe.yaml")
    experiment = open_experiment(config)
    rows = rows_by_split(read_splits(run / "splits.parquet", experiment.samples))
    members = [load_package(run / "package")]
    return (
        membership_inference(experiment, members, rows, make_accelerator(config), replicates=100),
        experiment,
        rows,
    )


def test_a_model_that_remembers_its_subjects_gives_them_away_and_an_untrained_one_does_not(recipe):
    settings = [
        "model.modality_dropout=0",
        "adapter.dropout=0",
        "trainer.average=0",
        "trainer.tune_every=100",
    ]
    remembers, *_ = attacked(train(recipe(), *settings, "trainer.max_steps=100", "trainer.lr=1e-2"))
    untrained, *_ = attacked(train(recipe(), *settings, "trainer.max_steps=1", "trainer.lr=1e-6"))
    assert remembers.value > 0.75
    assert remembers.low > 0.5
    assert abs(untrained.value - 0.5) < 0.15
    assert remembers.value > untrained.value + 0.2


def test_the_auroc_is_that_of_the_losses_by_sklearn(recipe):
    from clintune.evaluation.ablations import WHOLE
    from clintune.publishing.privacy.membership import _predict, mean_losses

    run = train(recipe(), "trainer.max_steps=20", "trainer.lr=1e-2")
    found, experiment, rows = attacked(run)
    both = np.concatenate([rows["train"], rows["held_out"]])
    accelerator = make_accelerator(experiment.config)
    probabilities = _predict(experiment, load_package(run / "package"), both, accelerator)[WHOLE]
    scores = -mean_losses(experiment.samples, experiment.tasks, both, probabilities)
    is_member = np.arange(len(both)) < len(rows["train"])
    assert found.value == pytest.approx(roc_auc_score(is_member, scores))
    assert found.n_samples == len(both)
