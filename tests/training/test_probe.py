"""The probe is logistic regression with the penalty chosen by subject."""

import numpy as np
import polars as pl
import pytest
import torch
from safetensors.torch import load_file
from sklearn.linear_model import LogisticRegression

import clintune
from clintune.features.sealed import save_sealed
from clintune.tasks.linear import PENALTIES, OneOf, YesNo
from clintune.training.linear_fit import fit_output, fold_paths, validation_losses
from clintune.training.probe import remembered_fit
from clintune.training.probe_inputs import (
    NUM_FOLDS,
    column_choices,
    subject_folds,
    subject_weights,
)
from conftest import evaluate, train


def data(num, width, seed=0):
    draw = np.random.default_rng(seed)
    features = draw.standard_normal((num, width)) / np.sqrt(width)
    truth = draw.standard_normal(width) * 3
    targets = (draw.random(num) < 1 / (1 + np.exp(-(features @ truth) - 0.5))).astype(float)
    return torch.from_numpy(features), torch.from_numpy(targets)


def weights_of(num):
    return torch.from_numpy(np.random.default_rng(9).uniform(0.2, 2, num))


def sklearns(features, targets, weight, inverse):
    model = LogisticRegression(C=inverse, tol=1e-10, max_iter=10_000)
    return model.fit(features.numpy(), targets.numpy(), sample_weight=weight.numpy())


@pytest.mark.parametrize(("num", "width"), [(300, 20), (60, 200)])
def test_every_penalty_gives_sklearns_logistic_regression(num, width):
    features, targets = data(num, width)
    weight = weights_of(num)
    for inverse, (weights, bias) in zip(
        PENALTIES, YesNo().path(features, targets, weight), strict=True
    ):
        reference = sklearns(features, targets, weight, inverse)
        np.testing.assert_allclose(weights.numpy(), reference.coef_, atol=1e-3)
        np.testing.assert_allclose(bias.numpy(), reference.intercept_, atol=1e-3)


def whole(linear):
    """Return the weights and bias of the model that is fitted on everything."""
    return linear.weights[0], linear.bias[0]


def losses_of(kind, features, targets, weight, fold):
    paths = fold_paths(kind, features, targets, weight, fold)
    return validation_losses(kind, paths, features, targets, weight, fold)


def reference_losses(features, targets, weight, fold):
    """Return the held-out log loss of each penalty, by scikit-learn."""
    losses = np.zeros(len(PENALTIES))
    for i, inverse in enumerate(PENALTIES):
        for k in range(NUM_FOLDS):
            train, test = fold != k, fold == k
            model = sklearns(features[train], targets[train], weight[train], inverse)
            chance = model.predict_proba(features[test].numpy())[:, 1]
            losses[i] -= (
                weight[test].numpy() * np.log(np.where(targets[test] == 1, chance, 1 - chance))
            ).sum()
    return losses


def test_columns_and_penalty_have_the_least_held_out_loss():
    features, targets = data(200, 12, seed=3)
    noise = torch.from_numpy(np.random.default_rng(4).standard_normal((200, 8)))
    everything, weight, fold = (
        torch.cat([noise, features], dim=1),
        weights_of(200),
        torch.arange(200) % NUM_FOLDS,
    )
    everything = torch.cat([everything, torch.zeros(200, 1)], dim=1)
    choices = [list(range(8)), list(range(20)), list(range(8, 21)), list(range(8, 12))]
    losses = [reference_losses(everything[:, choice], targets, weight, fold) for choice in choices]
    found = [losses_of(YesNo(), everything[:, choice], targets, weight, fold) for choice in choices]
    np.testing.assert_allclose(torch.stack(found).numpy(), np.stack(losses), rtol=1e-3)

    choice, penalty = divmod(int(np.argmin(losses)), len(PENALTIES))
    assert choice == 2

    weights, bias = whole(fit_output(YesNo(), everything, targets, weight, choices, fold))
    reference = sklearns(features, targets, weight, PENALTIES[penalty])
    assert not weights[:, :8].any()
    np.testing.assert_allclose(weights[:, 8:20].numpy(), reference.coef_, atol=1e-3)
    assert weights[0, 20] == 0
    np.testing.assert_allclose(bias.numpy(), reference.intercept_, atol=1e-3)


def test_a_fit_is_remembered_for_its_arguments_alone(tmp_path, capsys):
    features, targets = data(80, 6)
    arguments = [
        YesNo(),
        features,
        targets,
        weights_of(80),
        [range(6), range(3)],
        torch.arange(80) % NUM_FOLDS,
    ]
    weights, bias = fit_output(*arguments)
    for _ in range(2):
        found, found_bias = remembered_fit(*arguments, tmp_path)
        assert torch.equal(found, weights)
        assert torch.equal(found_bias, bias)
    (kept,) = (tmp_path / "statistics").glob("*.safetensors")
    save_sealed(kept, {"weights": torch.zeros(5, 1, 6), "bias": torch.zeros(5, 1)})
    assert not remembered_fit(*arguments, tmp_path)[0].any()

    for rotten in (kept.read_bytes()[:-1] + b"\x01", b"garbage"):
        kept.write_bytes(rotten)
        assert torch.equal(remembered_fit(*arguments, tmp_path)[0], weights)
        assert f"{kept}: is not as it was written; it is made again" in capsys.readouterr().err
    others = [
        OneOf(2),
        features + 1e-9,
        1 - targets,
        weights_of(80) * 2,
        [range(3)],
        arguments[5].flip(0),
    ]
    for place, other in enumerate(others):
        changed = [*arguments[:place], other, *arguments[place + 1 :]]
        assert torch.equal(remembered_fit(*changed, tmp_path)[0], fit_output(*changed)[0])


def test_choices_of_modalities_are_combined_side_by_side():
    assert column_choices([[[0, 1]], [[0], [1, 2]]], [2, 3]) == [[0, 1, 2], [0, 1, 3, 4]]


def test_subjects_weigh_alike_whatever_their_number_of_samples():
    subject = np.array([7, 7, 7, 2, 9, 9])
    weight = subject_weights(subject).numpy()
    assert weight.mean() == pytest.approx(1)
    np.testing.assert_allclose([weight[subject == s].sum() for s in (2, 7, 9)], 2)


def test_folds_share_no_subject_and_spread_classes_evenly():
    subject = np.repeat(np.arange(41), np.arange(41) % 3 + 1)
    positive = np.arange(41) % 4 == 0
    fold = subject_folds(subject, positive[subject].astype(np.float32), 7).numpy()
    assert all(len(set(fold[subject == s])) == 1 for s in range(41))
    of_subject = np.array([fold[subject == s][0] for s in range(41)])
    for group in (positive, ~positive):
        sizes = np.bincount(of_subject[group], minlength=NUM_FOLDS)
        assert sizes.max() - sizes.min() <= 1


def test_a_fold_without_one_of_the_classes_is_passed_over():
    features, targets = data(40, 5)
    weights, bias = fit_output(
        YesNo(),
        features,
        targets,
        torch.ones(40).double(),
        [range(5)],
        torch.where(targets == 1, 0, 1),
    )
    assert weights.isfinite().all()
    assert bias.isfinite().all()
    assert len(weights) == len(bias) == 1  # no fold leaves two answers to the others


def classes(num, width, num_classes, seed=0):
    draw = np.random.default_rng(seed)
    features = draw.standard_normal((num, width)) / np.sqrt(width)
    logits = features @ draw.standard_normal((width, num_classes)) * 3 + np.arange(num_classes) / 2
    chances = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    targets = np.array([draw.choice(num_classes, p=row) for row in chances])
    return torch.from_numpy(features), torch.from_numpy(targets.astype(float))


def gradient(kind, features, targets, weight, inverse, weights, bias):
    """Return the gradient of what is minimised, by torch."""
    parameters = [weights.clone().requires_grad_(), bias.clone().requires_grad_()]
    logits = features @ parameters[0].T + parameters[1]
    whole = inverse * kind.loss(logits, targets, weight) + (parameters[0] ** 2).sum() / 2
    return torch.cat([part.flatten() for part in torch.autograd.grad(whole, parameters)])


@pytest.mark.parametrize(("num", "width", "num_classes"), [(300, 10, 4), (60, 150, 3), (200, 8, 2)])
def test_every_penalty_gives_the_least_penalised_loss(num, width, num_classes):
    features, targets = classes(num, width, num_classes)
    weight, kind = weights_of(num), OneOf(num_classes)
    for inverse, (weights, bias) in zip(
        PENALTIES, kind.path(features, targets, weight), strict=True
    ):
        assert weights.shape == (num_classes, width)
        assert float(bias.logsumexp(0)) == pytest.approx(0, abs=1e-9)
        assert (
            float(gradient(kind, features, targets, weight, inverse, weights, bias).abs().max())
            < 2e-3 * inverse
        )


def test_the_penalty_over_classes_is_that_of_sklearn():
    features, targets = classes(160, 6, 3, seed=2)
    weight, fold = weights_of(160), torch.arange(160) % NUM_FOLDS
    losses = np.zeros(len(PENALTIES))
    for i, inverse in enumerate(PENALTIES):
        for k in range(NUM_FOLDS):
            model = sklearns(features[fold != k], targets[fold != k], weight[fold != k], inverse)
            chance = model.predict_proba(features[fold == k].numpy())
            own = chance[np.arange(len(chance)), targets[fold == k].long().numpy()]
            losses[i] -= (weight[fold == k].numpy() * np.log(own)).sum()
    found = losses_of(OneOf(3), features, targets, weight, fold)
    np.testing.assert_allclose(found.numpy(), losses, rtol=1e-3)
    weights, _ = whole(fit_output(OneOf(3), features, targets, weight, [range(6)], fold))
    reference = sklearns(features, targets, weight, PENALTIES[int(np.argmin(losses))])
    np.testing.assert_allclose(weights.numpy(), reference.coef_, atol=5e-3)


@pytest.mark.parametrize("present", [(1,), (0, 2), (0, 1, 3)])
def test_a_class_without_a_sample_is_as_rare_as_half_a_case(present):
    features, _ = classes(40, 5, 4)
    targets = torch.tensor(present).double()[torch.arange(40) % len(present)]
    absent = [c for c in range(4) if c not in present]
    for weights, bias in OneOf(4).path(features, targets, torch.ones(40).double()):
        assert not weights[absent].any()
        np.testing.assert_allclose(bias[absent].numpy(), np.log(0.5 / 40))
        chances = (features @ weights.T + bias).softmax(dim=1)
        assert float(chances[:, absent].max()) < 0.1


def test_a_probe_of_classes_serves_alone_and_beside_a_backbone(recipe, cohort):
    labels = cohort / "labels" / "deterioration.parquet"
    table = pl.read_parquet(labels)
    ward = pl.Series(
        "categorical_value", [["north", "south", "west"][i % 3] for i in range(len(table))]
    )
    table.drop("boolean_value").with_columns(ward).write_parquet(labels)
    path = recipe(cohort)
    path.write_text(
        path.read_text().replace("task@tasks.outcome: binary", "task@tasks.outcome: multiclass")
    )
    run = train(path, "model.readout=probe", "trainer.max_steps=0")
    parts = load_file(run / "package" / "parts.safetensors")
    weights = torch.cat([parts[name] for name in sorted(parts) if ".of_features." in name], dim=1)
    assert weights.shape[0] == 3
    assert float(weights.abs().max()) > 0

    evaluate(run)
    trained = train(path, "model.readout=probe", "trainer.max_steps=2")
    evaluate(trained)


def test_a_probe_alone_answers_without_its_backbone(shared_run, quickstart, monkeypatch):
    run = shared_run("model.readout=probe", "trainer.max_steps=0")
    predictor = clintune.load(run)
    (member,) = predictor.members
    assert not member.model.reads_queries

    # The backbone, asked all the same, changes no bit.
    member.model.reads_queries = True
    asked = predictor.predict(cohort=quickstart)
    member.model.reads_queries = False
    monkeypatch.delattr(type(member.model.backbone), "forward")
    assert predictor.predict(cohort=quickstart).equals(asked)


def test_a_trained_query_is_read(shared_run):
    assert clintune.load(shared_run("model.readout=probe")).members[0].model.reads_queries
