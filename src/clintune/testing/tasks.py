"""The contract of tasks as named checks."""

import json
from collections.abc import Callable, Iterator

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from torch import Tensor

from clintune.core.seeding import generator
from clintune.tasks.base import Task
from clintune.testing.modalities import Check


def check_task(make: Callable[[], Task], targets: NDArray[np.float32]) -> Iterator[Check]:
    """Yield the checks of a task.

    `make` returns a new task at each call. `targets` [N, T] are at least four valid known ones, as
    `read` would return them.
    """
    checks = _TaskChecks(make, targets)
    yield "unknown_targets_add_nothing", checks.unknown
    yield "losses_add_up_over_parts", checks.additive
    yield "gradients_are_finite", checks.gradients
    yield "predictions_are_finite_columns_of_a_name", checks.answers
    yield "metrics_are_floats_and_nan_when_undefined", checks.metrics
    yield "a_saved_state_gives_the_same_task", checks.state
    yield "a_prediction_file_gives_the_same_predictions", checks.tables
    yield "questions_and_views_name_columns_that_are_there", checks.asked
    yield "a_sample_loss_is_a_number_where_a_target_is_known", checks.sample_losses
    yield "a_linear_probe_can_be_fitted", checks.probe


class _TaskChecks:
    def __init__(self, make: Callable[[], Task], targets: NDArray[np.float32]) -> None:
        assert targets.ndim == 2
        assert len(targets) >= 4
        self.make = make
        self.targets = targets.astype(np.float32)

    def unknown(self) -> None:
        task, outputs = self._fitted()
        known = torch.from_numpy(self.targets)
        unknown = torch.full_like(known, float("nan"))
        loss, count = task.loss(outputs, unknown)
        assert (loss.item(), count.item()) == (0, 0)

        mixed = torch.cat([known, unknown])
        _assert_close(task.loss(torch.cat([outputs, outputs]), mixed), task.loss(outputs, known))
        (gradient,) = torch.autograd.grad(task.loss(outputs, unknown)[0], outputs)
        assert not gradient.any()

    def additive(self) -> None:
        task, outputs = self._fitted()
        known = torch.from_numpy(self.targets)
        slices = (slice(0, 1), slice(1, 3), slice(3, None))
        parts = [task.loss(outputs[rows], known[rows]) for rows in slices]
        total = sum((loss for loss, _ in parts), torch.zeros(()))
        count = sum((count for _, count in parts), torch.zeros(()))
        _assert_close((total, count), task.loss(outputs, known))

    def gradients(self) -> None:
        task, outputs = self._fitted()
        targets = self.targets.copy()
        targets[0] = np.nan
        for scale in (1.0, 1e4):
            loss, _ = task.loss(outputs * scale, torch.from_numpy(targets))
            (gradient,) = torch.autograd.grad(loss, outputs)
            assert gradient.isfinite().all()

    def answers(self) -> None:
        task, outputs = self._fitted()
        for scale in (1.0, 1e4):
            predicted = task.predict(outputs.detach() * scale)
            assert predicted.shape == (len(outputs), len(task.predicted_names))
            assert predicted.isfinite().all()
            for question in task.questions:
                chances = question.chances(predicted.numpy())
                assert ((chances >= 0) & (chances <= 1)).all(), "probabilities are between 0 and 1"

    def metrics(self) -> None:
        task, outputs = self._fitted()
        predicted = task.predict(outputs.detach()).numpy()
        assert task.metrics, "a task has a metric at least: the first chooses the checkpoint"
        names = [metric.name for metric in task.metrics]
        assert len(set(names)) == len(names), f"metrics of one name: {names}"
        scores = task.score(self.targets, predicted)
        assert all(isinstance(score, float) for score in scores.values())

        # Unknown targets change nothing, and without known ones a metric is undefined.
        mixed = np.concatenate([self.targets, np.full_like(self.targets, np.nan)])
        doubled = task.score(mixed, np.concatenate([predicted, predicted]))
        np.testing.assert_allclose(list(doubled.values()), list(scores.values()), rtol=1e-6)
        nothing = task.score(np.full_like(self.targets, np.nan), predicted)
        assert nothing.keys() == scores.keys()
        assert all(np.isnan(score) for score in nothing.values())

        # Equal weights give the plain score, and every score lies within the bounds.
        weights = np.stack([np.ones(len(predicted)), np.arange(len(predicted)) % 3.0])
        for metric in task.metrics:
            several = metric(self.targets, predicted, weights)
            np.testing.assert_allclose(several[0], scores[metric.name], rtol=1e-6)
            low, high = metric.bounds
            defined = several[~np.isnan(several)]
            assert ((low <= defined) & (defined <= high)).all(), metric.name

    def state(self) -> None:
        task, outputs = self._fitted()
        state = json.loads(json.dumps(task.state(), allow_nan=False))
        other = self.make()
        other.load_state(state)
        assert other.output_names == task.output_names

        targets = torch.from_numpy(self.targets)
        losses = task.loss(outputs, targets), other.loss(outputs, targets)
        for before, after in zip(*losses, strict=True):
            assert torch.equal(before, after)
        assert torch.equal(other.predict(outputs), task.predict(outputs))

    def tables(self) -> None:
        task, outputs = self._fitted()
        known = ~np.isnan(self.targets).any(axis=1)
        targets, predicted = self.targets[known], task.predict(outputs.detach()).numpy()[known]

        for i, part in enumerate(list(task.parts.values()) or [task]):
            one = slice(i, i + 1) if task.parts else slice(None)
            columns = part.label_table(targets[:, one]) | part.prediction_table(predicted[:, one])
            table = pl.DataFrame(columns)
            again = part.from_table(table)
            np.testing.assert_allclose(again[0], targets[:, one], rtol=1e-6)
            np.testing.assert_allclose(again[1], predicted[:, one], rtol=1e-6)
            assert part.decision_column is None or part.decision_column in table.columns

    def asked(self) -> None:
        task, outputs = self._fitted()
        predicted = task.predict(outputs.detach()).numpy()
        for view in task.binary_views:
            outcome, risk = view.outcome(self.targets), view.risk(predicted)
            assert outcome.shape == risk.shape == (len(predicted),)
            assert np.isin(outcome[~np.isnan(outcome)], (0, 1)).all()
            assert ((risk >= 0) & (risk <= 1)).all()
        positives = task.positives(self.targets)
        assert positives is None or positives.shape == (len(predicted),)

    def sample_losses(self) -> None:
        task, outputs = self._fitted()
        losses = task.sample_loss(self.targets, task.predict(outputs.detach()).numpy())
        assert losses.shape == (len(outputs),)
        assert (np.isnan(losses) == np.isnan(self.targets).all(axis=1)).all()

    def probe(self) -> None:
        task, _ = self._fitted()
        features = torch.randn(len(self.targets), 3, generator=generator("check_task")).double()
        for model, target, outputs in task.linear_models(torch.from_numpy(self.targets).double()):
            known = ~target.isnan().reshape(len(target), -1).any(dim=1)
            if not known.any() or not model.can_learn(target[known]):
                continue

            equal = torch.ones(int(known.sum())).double()
            weights, bias = model.path(features[known], target[known], equal)[0]
            assert weights.shape == (outputs.stop - outputs.start, 3)
            assert weights.isfinite().all()
            assert bias.isfinite().all()

    def _fitted(self) -> tuple[Task, Tensor]:
        task = self.make()
        task.fit(self.targets)
        shape = (len(self.targets), task.num_outputs)
        outputs = torch.randn(*shape, generator=generator("check_task"))
        return task, outputs.requires_grad_()


def _assert_close(first: tuple[Tensor, Tensor], second: tuple[Tensor, Tensor]) -> None:
    torch.testing.assert_close(first[0], second[0], rtol=1e-5, atol=1e-5)
    assert first[1].item() == second[1].item()
