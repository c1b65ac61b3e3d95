"""Who was in the training data: told of a model that remembers, not of one that never saw them."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from clintune.config.compose import load_config
from clintune.evaluation.analyses import membership
from clintune.evaluation.collect import predict_run, whole
from clintune.evaluation.evaluate import make_context
from clintune.experiment.open import open_experiment
from clintune.launch.device import make_accelerator
from conftest import train


def attacked(run):
    """Return the interval of the attack on a run, and the predictions that it was made with."""
    config = load_config(run / "recipe.yaml")
    experiment = open_experiment(config)
    requests = [
        whole(experiment.modalities),
        *membership.requests(list(experiment.modalities)),
    ]
    predicted = predict_run(run, experiment, requests, make_accelerator(config.trainer))
    context = make_context(run, experiment, predicted, replicates=100)
    return membership.run(context), context


def test_a_model_that_remembers_subjects_gives_them_away(recipe):
    settings = [
        "model.modality_dropout=0",
        "adapter.dropout=0",
        "trainer.average=0",
        "trainer.tune_every=100",
    ]
    remembers, _ = attacked(train(recipe(), *settings, "trainer.max_steps=100", "trainer.lr=1e-2"))
    untrained, _ = attacked(train(recipe(), *settings, "trainer.max_steps=1", "trainer.lr=1e-6"))
    assert remembers["value"] > 0.75
    assert remembers["low"] > 0.5
    assert abs(untrained["value"] - 0.5) < 0.15
    assert remembers["value"] > untrained["value"] + 0.2


def test_the_auroc_is_that_of_the_losses_by_sklearn(recipe):
    run = train(recipe(), "trainer.max_steps=20", "trainer.lr=1e-2")
    found, context = attacked(run)
    sides = [context.raw[split]["attacked"]["outcome"] for split in ("train", "held_out")]
    targets, risks = (
        np.concatenate([getattr(side, part)[:, 0] for side in sides])
        for part in ("targets", "predicted")
    )
    losses = -np.where(targets == 1, np.log(risks), np.log(1 - risks))
    is_member = np.arange(len(risks)) < len(sides[0])
    assert found["value"] == pytest.approx(roc_auc_score(is_member, -losses))
    assert found["n_samples"] == len(risks)
