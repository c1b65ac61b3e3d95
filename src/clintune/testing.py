"""The contracts of modalities and tasks as named checks, for ours and for yours.

CHECKS = check_modality(lambda: MyModality(...), tmp_folder)

@pytest.mark.parametrize("check", [pytest.param(run, id=name) for name, run in CHECKS])
def test_contract(check):
    check()
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import polars as pl
import torch
from meds.schema import DataSchema
from numpy.typing import NDArray
from torch import Tensor

from clintune.contracts import Item, Pieces
from clintune.core.disclosure import SMALLEST_SHOWN
from clintune.core.errors import DataError
from clintune.core.seeding import generator, seeded
from clintune.modalities.base import Modality, collate_pieces
from clintune.tasks.base import Task

Check = tuple[str, Callable[[], None]]

_TOLERANCE = 1e-5


def check_modality(make: Callable[[], Modality], folder: Path) -> Iterator[Check]:
    """Yield the checks of the modality that `make` makes anew, unbuilt, at each call; media are written to `folder`.

    Nothing is made, read or built until a check runs.
    """
    checks = _ModalityChecks(make, folder)
    yield "claims_is_a_truth_value", checks.claims
    yield "statistics_survive_json", checks.statistics
    yield "prepare_repeats_itself", checks.prepare
    yield "hours_follow_the_item", checks.hours
    yield "a_broken_item_is_named_and_nothing_else", checks.broken
    if not checks.native:
        yield "tokens_have_the_promised_shape_and_are_finite", checks.tokens
        yield "neighbours_do_not_change_tokens", checks.neighbours
        yield "a_saved_encoder_gives_the_same_tokens", checks.saved
        yield "the_mode_says_what_trains", checks.modes


class _ModalityChecks:
    def __init__(self, make: Callable[[], Modality], folder: Path) -> None:
        self.make = make
        self.folder = folder
        self.native = make().native
        self.built = cache(lambda: self._build(0))
        self.items = cache(lambda: type(make()).fake(folder, 5, 0))

    def training(self) -> Iterator[Item]:
        """Yield the items as if so many subjects had each that statistics hold nothing back."""
        for subject in range(SMALLEST_SHOWN):
            for item in self.items():
                yield replace(item, subject=subject)

    def claims(self) -> None:
        modality = self.make()
        media = {modality.media_column: ["file", None]} if modality.media_column else {}
        table = pl.DataFrame(
            {
                DataSchema.subject_id_name: [1, 1],
                DataSchema.time_name: [None, None],
                DataSchema.code_name: ["A", "B"],
                DataSchema.numeric_value_name: [1.0, None],
                DataSchema.text_value_name: ["text", None],
                **media,
            }
        )
        claimed = table.select(claimed=modality.claims())["claimed"]
        assert claimed.dtype == pl.Boolean
        assert claimed.null_count() == 0, "claims() is null for some rows; make it true or false"

    def statistics(self) -> None:
        statistics = self.make().fit(self.training())
        assert json.loads(json.dumps(statistics, allow_nan=False)) == statistics

    def prepare(self) -> None:
        modality = self.built()
        for item in self.items():
            _assert_same(modality.prepare(item), modality.prepare(item))
            _assert_same(modality.prepare(item), modality.without_weights().prepare(item))
            for view in range(1, modality.views):
                _assert_same(modality.prepare(item, view), modality.prepare(item, view))
                before, after = modality.prepare(item), modality.prepare(item, view)
                assert any(not torch.equal(before.tensors[name], after.tensors[name]) for name in before.tensors)

    def hours(self) -> None:
        modality = self.built()
        for item in self.items():
            now, later = modality.prepare(item), modality.prepare(replace(item, hours=item.hours + 8))
            assert now.hours.dtype == torch.float32
            assert (now.hours >= item.hours - 1e-3).all(), "a piece is newer than its item"
            torch.testing.assert_close(later.hours, now.hours + 8)

    def broken(self) -> None:
        modality = self.built()
        item = self.items()[0]
        if item.path is None and item.text is None:
            return
        secret = replace(item, code="SECRET//CODE", where="table.parquet row 7", text=item.text and "  ")
        self.folder.mkdir(parents=True, exist_ok=True)
        for number, content in enumerate([b"", b"SECRET garbage" * 50, None]):
            path = None
            if item.path is not None:
                path = self.folder / f"SECRET_{number}{item.path.suffix}"
                if content is not None:
                    path.write_bytes(content)
            try:
                modality.prepare(replace(secret, path=path))
            except DataError as error:
                message = str(error)
                assert secret.where in message, f"the error does not say where: {message}"
                assert "SECRET" not in message, f"the error tells of the patient: {message}"
                assert "\n" not in message, f"the error has more than one line: {message}"
            else:
                raise AssertionError("a broken item was read; raise DataError naming item.where")

    def tokens(self) -> None:
        modality = self.built()
        pieces = [modality.prepare(item) for item in self.items()]
        tokens = _encode(modality, pieces)
        assert list(tokens.shape) == [sum(map(len, pieces)), modality.tokens_per_piece, modality.width]
        assert tokens.isfinite().all()
        assert not torch.equal(tokens[0], tokens[-1]), "different items give the same tokens"

    def neighbours(self) -> None:
        modality = self.built()
        pieces = [modality.prepare(item) for item in self.items()]
        alone = [_encode(modality, [part]) for part in pieces]
        for order in (range(len(pieces)), range(len(pieces))[::-1], [2, 0]):
            together = _encode(modality, [pieces[number] for number in order])
            expected = torch.cat([alone[number] for number in order])
            torch.testing.assert_close(together, expected, atol=_TOLERANCE, rtol=_TOLERANCE)

    def saved(self) -> None:
        modality, other = self.built(), self._build(1)
        other.load_state_dict(modality.state_dict(), strict=True)
        pieces = [modality.prepare(item) for item in self.items()]
        _assert_same(pieces[0], other.prepare(self.items()[0]))
        assert torch.equal(_encode(modality, pieces), _encode(other, pieces))

    def modes(self) -> None:
        modality = self._build(2)
        trained = [parameter.requires_grad for parameter in modality.parameters()]
        assert any(trained) == (modality.mode == "full"), f"mode {modality.mode}: {sum(trained)} tensors train"
        modality.train()
        assert modality.mode != "frozen" or not any(module.training for module in modality.modules())
        assert modality.cacheable == (modality.mode == "frozen" and modality.piecewise and modality.rows is None)
        json.dumps([modality.settings(), modality.source], allow_nan=False)

    def _build(self, seed: int) -> Modality:
        modality = self.make()
        statistics = modality.fit(self.training())
        with seeded(seed, "check"):
            modality.build(statistics)
        return modality.eval()


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


def _encode(modality: Modality, pieces: list[Pieces]) -> Tensor:
    with torch.no_grad():
        return modality.encode(collate_pieces(pieces))


def _assert_same(first: Pieces, second: Pieces) -> None:
    assert first.tensors.keys() == second.tensors.keys()
    for name, tensor in first.tensors.items():
        torch.testing.assert_close(tensor, second.tensors[name], rtol=0, atol=0, equal_nan=True)
    assert torch.equal(first.hours, second.hours)


def _assert_close(first: tuple[Tensor, Tensor], second: tuple[Tensor, Tensor]) -> None:
    torch.testing.assert_close(first[0], second[0], rtol=1e-5, atol=1e-5)
    assert first[1].item() == second[1].item()
