"""The contract of tasks as named checks."""

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from torch import Tensor

from clintune.contracts import Predictions
from clintune.core.disclosure import SMALLEST_SHOWN
from clintune.core.seeding import generator
from clintune.report.svg import render
from clintune.tasks.base import Task
from clintune.tasks.figure import Figure
from clintune.testing.modalities import Check

_MANY_SUBJECTS = 600
_TOLERANCE = 1e-5


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
    yield "figures_are_drawn_from_points_that_json_keeps", checks.figures


class _TaskChecks:
    def __init__(self, make: Callable[[], Task], targets: NDArray[np.float32]) -> None:
        assert targets.ndim == 2, f"targets are [N, T], not of shape {targets.shape}"
        assert len(targets) >= 4, f"give four targets or more, not {len(targets)}"
        self.make = make
        self.targets = targets.astype(np.float32)

    def unknown(self) -> None:
        task, outputs = self._fitted()
        known = torch.from_numpy(self.targets)
        unknown = torch.full_like(known, float("nan"))
        loss, count = task.loss(outputs, unknown)
        assert (loss.item(), count.item()) == (0, 0), (
            f"without a known target loss gives {loss.item():g} and {count.item():g}, not 0 and 0"
        )

        mixed = torch.cat([known, unknown])
        _assert_same_loss(
            task.loss(torch.cat([outputs, outputs]), mixed),
            task.loss(outputs, known),
            "unknown targets change the loss; it is a sum over known targets",
        )
        (gradient,) = torch.autograd.grad(task.loss(outputs, unknown)[0], outputs)
        assert not gradient.any(), (
            "unknown targets give a gradient; replace them before the loss, as known_only does"
        )

    def additive(self) -> None:
        task, outputs = self._fitted()
        known = torch.from_numpy(self.targets)
        slices = (slice(0, 1), slice(1, 3), slice(3, None))
        parts = [task.loss(outputs[rows], known[rows]) for rows in slices]
        total = sum((loss for loss, _ in parts), torch.zeros(()))
        count = sum((count for _, count in parts), torch.zeros(()))
        _assert_same_loss(
            (total, count),
            task.loss(outputs, known),
            "loss must be a sum over known targets with their number, not a mean",
        )

    def gradients(self) -> None:
        task, outputs = self._fitted()
        targets = self.targets.copy()
        targets[0] = np.nan
        for scale in (1.0, 1e4):
            loss, _ = task.loss(outputs * scale, torch.from_numpy(targets))
            (gradient,) = torch.autograd.grad(loss, outputs)
            assert gradient.isfinite().all(), (
                f"a gradient is not finite where outputs are about {scale:g} or a target is NaN"
            )

    def answers(self) -> None:
        task, outputs = self._fitted()
        wanted = (len(outputs), len(task.predicted_names))
        for scale in (1.0, 1e4):
            predicted = task.predict(outputs.detach() * scale)
            assert predicted.shape == wanted, (
                f"predict gives {tuple(predicted.shape)}; the names of predictions want {wanted}"
            )
            assert predicted.isfinite().all(), (
                f"predict gives values that are not finite where outputs are about {scale:g}"
            )
            for question in task.questions:
                chances = question.chances(predicted.numpy())
                assert ((chances >= 0) & (chances <= 1)).all(), "probabilities are between 0 and 1"

    def metrics(self) -> None:
        task, outputs = self._fitted()
        predicted = task.predict(outputs.detach()).numpy()
        assert task.metrics, "a task has a metric at least: the first chooses the checkpoint"
        names = [metric.name for metric in task.metrics]
        assert len(set(names)) == len(names), f"metrics of one name: {names}"

        unknown = np.full_like(self.targets, np.nan)
        weights = np.stack([np.ones(len(predicted)), np.arange(len(predicted)) % 3.0])
        for metric in task.metrics:
            # Unknown targets change nothing, and without known ones a metric is undefined.
            name = f"metric {metric.name}"
            score = metric(self.targets, predicted)
            doubled = metric(
                np.concatenate([self.targets, unknown]), np.concatenate([predicted, predicted])
            )
            _assert_close(doubled, score, f"{name} changes with unknown targets; leave them out")
            nothing = metric(unknown, predicted)
            assert np.isnan(nothing), f"{name} is {nothing:g} without a known target, not NaN"

            # Equal weights give the plain score, and every score lies within the bounds.
            several = metric(self.targets, predicted, weights)
            assert several.shape == (2,), (
                f"{name} gives {several.shape} of weights [2, N]; compute returns [R] values"
            )
            _assert_close(several[0], score, f"{name} differs under equal weights")
            low, high = metric.bounds
            defined = several[~np.isnan(several)]
            assert ((low <= defined) & (defined <= high)).all(), (
                f"{name} gives {defined.tolist()}, beyond its bounds {low:g} to {high:g}; "
                "state `bounds`"
            )

    def state(self) -> None:
        task, outputs = self._fitted()
        state = json.loads(json.dumps(task.state(), allow_nan=False))
        other = self.make()
        other.load_state(state)
        assert other.output_names == task.output_names, (
            f"load_state gives outputs {other.output_names}, not {task.output_names}"
        )

        targets = torch.from_numpy(self.targets)
        losses = task.loss(outputs, targets), other.loss(outputs, targets)
        for before, after in zip(*losses, strict=True):
            assert torch.equal(before, after), (
                f"loss is {before.item():g} before, {after.item():g} after load_state; "
                "state must hold all that fit learns"
            )
        assert torch.equal(other.predict(outputs), task.predict(outputs)), (
            "predict differs after load_state; state must hold all that fit learns"
        )

    def tables(self) -> None:
        task, outputs = self._fitted()
        known = ~np.isnan(self.targets).any(axis=1)
        targets, predicted = self.targets[known], task.predict(outputs.detach()).numpy()[known]

        for i, part in enumerate(list(task.parts.values()) or [task]):
            one = slice(i, i + 1) if task.parts else slice(None)
            columns = part.label_table(targets[:, one]) | part.prediction_table(predicted[:, one])
            table = pl.DataFrame(columns)
            again = part.from_table(table)
            changed = "from_table does not give back what {} wrote"
            _assert_close(again[0], targets[:, one], changed.format("label_table"))
            _assert_close(again[1], predicted[:, one], changed.format("prediction_table"))
            assert part.decision_column is None or part.decision_column in table.columns, (
                f"prediction_table lacks the decision column {part.decision_column}"
            )

    def asked(self) -> None:
        task, outputs = self._fitted()
        predicted = task.predict(outputs.detach()).numpy()
        for view in task.binary_views:
            outcome, risk = view.outcome(self.targets), view.risk(predicted)
            assert outcome.shape == risk.shape == (len(predicted),), (
                f"a view gives outcomes {outcome.shape} and risks {risk.shape}; both are [N]"
            )
            assert np.isin(outcome[~np.isnan(outcome)], (0, 1)).all(), (
                "the outcomes of a view are 0, 1 or NaN"
            )
            assert ((risk >= 0) & (risk <= 1)).all(), "the risks of a view are between 0 and 1"

        positives = task.positives(self.targets)
        assert positives is None or positives.shape == (len(predicted),), (
            "positives gives one number a sample [N], or None"
        )

    def sample_losses(self) -> None:
        task, outputs = self._fitted()
        losses = task.sample_loss(self.targets, task.predict(outputs.detach()).numpy())
        assert losses.shape == (len(outputs),), (
            f"sample_loss gives {losses.shape}; it gives one number a sample [N]"
        )
        assert (np.isnan(losses) == np.isnan(self.targets).all(axis=1)).all(), (
            "sample_loss is NaN where no target of a sample is known, and nowhere else"
        )

    def probe(self) -> None:
        task, _ = self._fitted()
        features = torch.randn(len(self.targets), 3, generator=generator("check_task")).double()
        for model, target, outputs in task.linear_models(torch.from_numpy(self.targets).double()):
            known = ~target.isnan().reshape(len(target), -1).any(dim=1)
            if not known.any() or not model.can_learn(target[known]):
                continue

            equal = torch.ones(int(known.sum())).double()
            weights, bias = model.path(features[known], target[known], equal)[0]
            wanted = (outputs.stop - outputs.start, 3)
            assert weights.shape == wanted, (
                f"a linear model has weights {tuple(weights.shape)}; its outputs want {wanted}"
            )
            assert weights.isfinite().all() and bias.isfinite().all(), (  # noqa: PT018
                "the weights of a linear model are not finite; look at the loss of large outputs"
            )

    def figures(self) -> None:
        task, _ = self._fitted()
        for number, figure in enumerate(task.figures):
            assert isinstance(figure, Figure), (
                f"figure {number} is a {type(figure).__name__}; "
                "`figures` is a sequence of Figure (clintune.tasks.figure)"
            )
            name = f"figure {figure.title or number}"
            for part in ("title", "caption", "size", "points", "draw"):
                assert getattr(figure, part), f"{name} lacks {part}; give it one"
            self._check_figure(task, figure, name)

    def _check_figure(self, task: Task, figure: Figure, name: str) -> None:
        few = figure.points(self._predictions(task, SMALLEST_SHOWN - 1))
        assert few is None, (
            f"{name} shows {few} of {SMALLEST_SHOWN - 1} subjects; its points must be None, and "
            f"tell nothing of fewer than {SMALLEST_SHOWN}"
        )

        # The report draws what metrics.json keeps, and nothing else.
        points = figure.points(self._predictions(task, _MANY_SUBJECTS))
        try:
            kept = json.loads(json.dumps(points, allow_nan=False))
        except (TypeError, ValueError) as error:
            raise AssertionError(f"{name}: its points are no plain values: {error}") from error
        if kept is None:
            return
        try:
            render(lambda canvas: figure.draw(canvas, kept), figure.size, "figure", figure.title)
        except Exception as error:
            raise AssertionError(
                f"{name} cannot be drawn from points that went through JSON: {error!r}"
            ) from error

    def _predictions(self, task: Task, number: int) -> Predictions:
        """Return predictions of so many subjects, whose targets are those given, in turn."""
        outputs = torch.randn(number, task.num_outputs, generator=generator("check_task"))
        targets = self.targets[~np.isnan(self.targets).any(axis=1)]
        return Predictions(
            cohort=np.full(number, "fake"),
            subject_id=np.arange(number),
            prediction_time=[datetime(2000, 1, 1, tzinfo=UTC)] * number,
            fold=np.zeros(number, np.int64),
            targets=np.resize(targets, (number, targets.shape[1])),
            predicted=task.predict(outputs).numpy(),
        )

    def _fitted(self) -> tuple[Task, Tensor]:
        task = self.make()
        task.fit(self.targets)
        shape = (len(self.targets), task.num_outputs)
        outputs = torch.randn(*shape, generator=generator("check_task"))
        return task, outputs.requires_grad_()


def _assert_same_loss(
    first: tuple[Tensor, Tensor], second: tuple[Tensor, Tensor], sentence: str
) -> None:
    (loss, count), (wanted, wanted_count) = first, second
    _assert_close(loss.item(), wanted.item(), sentence)
    _assert_close(count.item(), wanted_count.item(), f"{sentence}; the number of labels differs")


def _assert_close(found: Any, wanted: Any, sentence: str) -> None:
    close = np.allclose(found, wanted, rtol=_TOLERANCE, atol=_TOLERANCE, equal_nan=True)
    assert close, f"{sentence}: found {found}, not {wanted}"
