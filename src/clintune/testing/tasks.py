"""The contract of tasks as named checks."""

import json
from collections.abc import Callable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from clintune.core.seeding import generator
from clintune.tasks.base import Task

Check = tuple[str, Callable[[], None]]


def check_task(make: Callable[[], Task], targets: NDArray[np.float32]) -> Iterator[Check]:
    """Yield the checks of the task that `make` makes anew at each call.

    `targets` [N, T] are at least four valid known ones, as `read` would return them.
    """
    checks = _TaskChecks(make, targets)
    yield "a_target_for_each_output_or_the_number_of_a_class", checks.widths
    yield "unknown_targets_add_nothing", checks.unknown
    yield "losses_add_up_over_parts", checks.additive
    yield "gradients_are_finite", checks.gradients
    yield "probabilities_are_between_0_and_1", checks.probabilities
    yield "metrics_are_floats_and_nan_when_undefined", checks.metrics
    yield "a_saved_state_gives_the_same_task", checks.state
    yield "predictions_have_a_row_for_each_sample", checks.predictions


class _TaskChecks:
    def __init__(self, make: Callable[[], Task], targets: NDArray[np.float32]) -> None:
        assert targets.ndim == 2
        assert len(targets) >= 4
        self.make = make
        self.targets = targets.astype(np.float32)

    def widths(self) -> None:
        task, _ = self._fitted()
        width = self.targets.shape[1]
        problem = f"{width} columns of targets for {task.num_outputs} outputs: evaluation scores neither"
        assert width in (1, task.num_outputs), problem

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
        parts = [task.loss(outputs[rows], known[rows]) for rows in (slice(0, 1), slice(1, 3), slice(3, None))]
        sums = sum((loss for loss, _ in parts), torch.zeros(())), sum((count for _, count in parts), torch.zeros(()))
        _assert_close(sums, task.loss(outputs, known))

    def gradients(self) -> None:
        task, outputs = self._fitted()
        targets = self.targets.copy()
        targets[0] = np.nan
        for scale in (1.0, 1e4):
            (gradient,) = torch.autograd.grad(task.loss(outputs * scale, torch.from_numpy(targets))[0], outputs)
            assert gradient.isfinite().all()

    def probabilities(self) -> None:
        task, outputs = self._fitted()
        for scale in (1.0, 1e4):
            probabilities = task.probabilities(outputs.detach() * scale)
            assert probabilities.shape == outputs.shape
            assert ((probabilities >= 0) & (probabilities <= 1)).all()

    def metrics(self) -> None:
        task, outputs = self._fitted()
        probabilities = task.probabilities(outputs.detach()).numpy()
        scores = task.metrics(self.targets, probabilities)
        assert all(isinstance(score, float) for score in scores.values())
        mixed = np.concatenate([self.targets, np.full_like(self.targets, np.nan)])
        doubled = task.metrics(mixed, np.concatenate([probabilities, probabilities]))
        np.testing.assert_allclose(list(doubled.values()), list(scores.values()), rtol=1e-6)
        nothing = task.metrics(np.full_like(self.targets, np.nan), probabilities)
        assert nothing.keys() == scores.keys()
        assert all(np.isnan(score) for score in nothing.values())

    def state(self) -> None:
        task, outputs = self._fitted()
        state = json.loads(json.dumps(task.state(), allow_nan=False))
        other = self.make()
        other.load_state(state)
        assert other.output_names == task.output_names
        targets = torch.from_numpy(self.targets)
        for before, after in zip(task.loss(outputs, targets), other.loss(outputs, targets), strict=True):
            assert torch.equal(before, after)
        assert torch.equal(other.probabilities(outputs), task.probabilities(outputs))

    def predictions(self) -> None:
        task, outputs = self._fitted()
        columns = task.predicted_columns(task.probabilities(outputs.detach()).numpy())
        assert columns
        assert {len(values) for values in columns.values()} == {len(outputs)}

    def _fitted(self) -> tuple[Task, Tensor]:
        task = self.make()
        task.fit(self.targets)
        outputs = torch.randn(len(self.targets), task.num_outputs, generator=generator("check_task"))
        return task, outputs.requires_grad_()


def _assert_close(first: tuple[Tensor, Tensor], second: tuple[Tensor, Tensor]) -> None:
    torch.testing.assert_close(first[0], second[0], rtol=1e-5, atol=1e-5)
    assert first[1].item() == second[1].item()
