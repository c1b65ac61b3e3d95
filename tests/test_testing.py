"""The shipped checks pass what keeps the contract; what breaks it fails the check of its name."""

from copy import copy
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from clintune.contracts import Pieces
from clintune.core.errors import DataError
from clintune.metrics import regression
from clintune.modalities.images.reader import ImageReader
from clintune.modalities.imaging import Imaging
from clintune.modalities.static import FactReader, Static
from clintune.tasks.binary import Binary
from clintune.tasks.figure import Figure, equal_groups
from clintune.tasks.multiclass import Multiclass
from clintune.tasks.multilabel import Multilabel
from clintune.tasks.regression import Regression
from clintune.testing import check_modality, check_task


class Good(Imaging):
    def __init__(self, *, mode="full"):
        super().__init__(
            source="random",
            config={"architecture": "cnn", "widths": [4]},
            size=16,
            mode=mode,
            views=2,
            flip=True,
        )


class Neighbourly(Good):
    def encode(self, tensors):
        tokens = super().encode(tensors)
        return tokens - tokens.mean(0)


class IndiscreetReader(ImageReader):
    def preprocess(self, item, view=0):
        try:
            return super().preprocess(item, view)
        except DataError as error:
            raise DataError(f"{item.where}: cannot read {item.path}") from error


class OptimistReader(ImageReader):
    def preprocess(self, item, view=0):
        try:
            return super().preprocess(item, view)
        except DataError:
            return Pieces(
                tensors={"pixels": torch.zeros(1, 3, 16, 16)}, hours=torch.tensor([item.hours])
            )


class RestlessReader(ImageReader):
    def preprocess(self, item, view=0):
        pieces = super().preprocess(item, view)
        return replace(pieces, tensors={"pixels": pieces.tensors["pixels"] + torch.rand(())})


class PropheticReader(ImageReader):
    def preprocess(self, item, view=0):
        pieces = super().preprocess(item, view)
        return replace(pieces, hours=pieces.hours - 24)


class Forgetful(Good):
    def build(self, statistics):
        super().build(statistics)
        self.scale = torch.rand(())

    def encode(self, tensors):
        return super().encode(tensors) * self.scale


class Constant(Good):
    def encode(self, tensors):
        return torch.zeros_like(super().encode(tensors))


class Thawed(Good):
    def __init__(self):
        super().__init__(mode="frozen")

    def build(self, statistics):
        super().build(statistics)
        self.encoder.layers.append(nn.Conv2d(4, 4, 1))


def reading(reader):
    """Return what makes an image modality that is sound but for its reader."""

    def make():
        modality = Good()
        modality.reader = reader(**modality.reader.arguments)
        return modality

    make.__name__ = reader.__name__
    return make


def failing(checks):
    failed = []
    for name, check in checks:
        try:
            check()
        except AssertionError:
            failed.append(name)
    return failed


@pytest.mark.parametrize(
    ("kind", "caught"),
    [
        (Good, []),
        (Neighbourly, ["neighbours_do_not_change_tokens"]),
        (reading(IndiscreetReader), ["a_broken_item_is_named_and_nothing_else"]),
        (reading(OptimistReader), ["a_broken_item_is_named_and_nothing_else"]),
        (
            reading(RestlessReader),
            [
                "preprocess_repeats_itself",
                "a_reader_travels_without_its_encoder",
                "neighbours_do_not_change_tokens",
                "a_saved_encoder_gives_the_same_tokens",
            ],
        ),
        (reading(PropheticReader), ["hours_follow_the_item"]),
        (Forgetful, ["a_saved_encoder_gives_the_same_tokens"]),
        (Constant, ["tokens_have_the_promised_shape_and_are_finite"]),
        (Thawed, ["the_mode_says_what_trains"]),
    ],
    ids=lambda case: getattr(case, "__name__", ""),
)
def test_a_broken_modality_is_caught_by_the_check_of_that_name(kind, caught, tmp_path):
    assert failing(check_modality(kind, tmp_path)) == caught


class SpendthriftReader(FactReader):
    def preprocess_rows(self, rows):
        many = copy(self)
        many.max_pieces = len(rows)
        return FactReader.preprocess_rows(many, rows)


class GroupingReader(FactReader):
    def preprocess_rows(self, rows):
        last = np.diff(rows.owner, append=-1) != 0
        return super().preprocess_rows(rows.take(last))


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (SpendthriftReader, "the reader makes 20 pieces of a sample, beyond max_pieces 2"),
        (GroupingReader, "the reader makes 1 pieces of 5 rows; say so in num_pieces"),
    ],
)
def test_a_reader_that_breaks_its_budget_is_told(kind, said, tmp_path):
    max_pieces = 2 if kind is SpendthriftReader else 8

    def make():
        modality = Static(codes=["SCALE"], max_pieces=max_pieces)
        modality.reader = kind(codes=["SCALE"], max_pieces=max_pieces)
        return modality

    with pytest.raises(AssertionError, match=said):
        dict(check_modality(make, tmp_path))["a_reader_keeps_its_budget"]()


TARGETS = {
    "binary": (
        lambda: Binary(label="x", class_weight="balanced"),
        np.array([[0], [1], [1], [0], [1]]),
    ),
    "multiclass": (
        lambda: Multiclass(label="x", classes=["a", "b", "c"]),
        np.array([[0], [1], [2], [0], [1]]),
    ),
    "multilabel": (
        lambda: Multilabel(label="x", phenotypes=["a", "b"]),
        np.array([[0, 1], [1, 1], [1, 0], [0, 0]]),
    ),
}
CASES = [
    (kind, name)
    for kind, (make, targets) in TARGETS.items()
    for name, _ in check_task(make, targets)
]


@pytest.mark.parametrize(("kind", "name"), CASES)
def test_tasks_keep_the_contract(kind, name):
    dict(check_task(*TARGETS[kind]))[name]()


class Averaging(Binary):
    def loss(self, outputs, targets):
        total, count = super().loss(outputs, targets)
        return total / count.clamp(min=1), count


class Guessing(Binary):
    def loss(self, outputs, targets):
        return super().loss(outputs, targets.nan_to_num(0.0))


class Amnesic(Binary):
    def load_state(self, state):
        pass


@pytest.mark.parametrize(
    ("kind", "caught"),
    [
        (Averaging, ["losses_add_up_over_parts"]),
        (Guessing, ["unknown_targets_add_nothing"]),
        (Amnesic, ["a_saved_state_gives_the_same_task"]),
    ],
)
def test_a_task_that_breaks_the_contract_is_caught(kind, caught):
    checks = check_task(lambda: kind(label="x", class_weight="balanced"), TARGETS["binary"][1])
    assert failing(checks) == caught


def means(predictions):
    groups = equal_groups(predictions, predictions.predicted[:, 0], 3)
    return [float(predictions.targets[rows, 0].mean()) for rows in groups] or None


def in_a_line(canvas, points):
    canvas.subplots().plot(points)


OBSERVED = Figure(title="Observed", caption="Means.", points=means, draw=in_a_line)


def check_of_figures(figure):
    class Drawing(Regression):
        figures = (figure,)

    checks = dict(check_task(lambda: Drawing(label="x"), np.array([[0], [1], [2], [0.5]])))
    return checks["figures_are_drawn_from_points_that_json_keeps"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({}, None),
        ({"caption": None}, "figure Observed lacks caption"),
        ({"points": lambda predictions: [1.0]}, r"figure Observed shows \[1.0\] of 10 subjects"),
        (
            {"points": lambda predictions: predictions.targets if len(predictions) > 10 else None},
            "figure Observed: its points are no plain values",
        ),
        (
            {"draw": lambda canvas, points: canvas.subplots().plot(points["x"])},
            "figure Observed cannot be drawn from points that went through JSON: TypeError",
        ),
    ],
    ids=["whole", "no caption", "of few", "an array", "another shape"],
)
def test_a_figure_is_drawn_from_what_json_keeps(change, said):
    check = check_of_figures(replace(OBSERVED, **change))
    if said is None:
        check()
    else:
        with pytest.raises(AssertionError, match=said):
            check()


def test_a_figure_of_another_class_is_told():
    alike = SimpleNamespace(**vars(OBSERVED))
    with pytest.raises(AssertionError, match="figure 0 is a SimpleNamespace; `figures` is a seq"):
        check_of_figures(alike)()


def test_a_metric_beyond_its_bounds_is_told():
    class Unbound(Regression):
        metrics = (replace(regression.rmse, bounds=(0.0, 0.001)),)

    checks = dict(check_task(lambda: Unbound(label="x"), np.array([[0], [1], [2], [0.5]])))
    with pytest.raises(AssertionError, match=r"metric rmse gives .* state `bounds`"):
        checks["metrics_are_floats_and_nan_when_undefined"]()


def test_a_mean_for_a_loss_is_told_in_a_sentence():
    checks = dict(check_task(lambda: Averaging(label="x"), TARGETS["binary"][1]))
    with pytest.raises(AssertionError, match="loss must be a sum over known targets"):
        checks["losses_add_up_over_parts"]()
