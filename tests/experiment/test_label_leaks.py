"""What tells the label by itself is found, whatever it is; what does not is left in peace."""

from datetime import timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from clintune.cohort.index import SampleIndex
from clintune.cohort.samples import Samples
from clintune.config.schema import Cohort
from clintune.core.errors import DataError
from clintune.experiment.fold_data import check_fold
from clintune.experiment.label_leaks import aurocs, check_answers, find_leaks
from clintune.modalities.static import Static
from clintune.tasks.binary import Binary
from clintune.tasks.multiclass import Multiclass
from helpers.cohort_samples import EVENTS
from helpers.label_files import MOMENT, write_labels


def cohort(tmp_path, rows, labels, task=None):
    """Return a cohort's samples from `rows` (subject, hours before, code, value), a label each."""
    table = [(s, None if h is None else MOMENT - timedelta(hours=h), c, v) for s, h, c, v in rows]
    (tmp_path / "data").mkdir()
    events = pl.DataFrame(table, EVENTS, orient="row").sort("subject_id", "time")
    events.write_parquet(tmp_path / "data" / "0.parquet")

    column = "boolean_value" if task is None else "categorical_value"
    path, values = tmp_path / "labels" / "y.parquet", list(labels.values())
    write_labels(path, values, column, subjects=list(labels))
    task = task or Binary(label="y")
    static = Static(codes=["LAB//"]).reader
    index = SampleIndex.open(
        "c", Cohort(root=str(tmp_path)), {"static": static}, {"y": task}, tmp_path / "cache"
    )
    return Samples([index]), {"y": task}


def leaks(samples, tasks, sources=None):
    return find_leaks(samples, np.arange(len(samples)), tasks, ["static"], sources or {})


YES = {s: s % 3 == 0 for s in range(60)}
NOISE = np.random.default_rng(0).normal(size=60).tolist()
MORE_NOISE = np.random.default_rng(1).normal(size=(40, 60))


@pytest.mark.parametrize(
    ("told", "what"),
    [
        (lambda s, y: [(s, None, "LAB//outcome", float(y))], "its value"),
        (lambda s, y: [(s, 0, "LAB//outcome", 3.0 - y)], "its value"),
        (
            lambda s, y: [(s, 5, "LAB//outcome", NOISE[s]), (s, 1, "LAB//outcome", float(y))],
            "its value",
        ),
        (lambda s, y: [(s, None, "LAB//outcome", None)] if y else [], ""),
        (lambda s, y: [(s, 2, "LAB//outcome", NOISE[s])] if not y else [], ""),
        (lambda s, y: [(s, 2 if y else 30, "LAB//outcome", None)], "its time"),
    ],
)
def test_a_code_that_is_the_label_is_named_once(tmp_path, told, what):
    rows = [(s, 3, "LAB//other", NOISE[s]) for s in YES] + [
        row for s, y in YES.items() for row in told(s, y)
    ]
    (said,) = leaks(*cohort(tmp_path, rows, YES))
    assert said.startswith(
        f"modality static, code LAB//outcome{', ' * bool(what)}{what}: tells the label of y almost"
    )
    assert "AUROC 1.000 on training subjects" in said


def test_a_leak_before_the_first_of_several_predictions_is_found(tmp_path):
    rows = [(s, 50, "LAB//outcome", float(y)) for s, y in YES.items()]
    rows += [(s, 1, "LAB//outcome", 0.5) for s in YES]
    _, tasks = cohort(tmp_path, rows, YES)
    labels = pl.read_parquet(tmp_path / "labels/y.parquet")
    earlier = labels.with_columns(pl.col("prediction_time").dt.offset_by("-40h"))
    later = labels.with_columns(boolean_value=pl.lit(False))
    pl.concat([earlier, later]).write_parquet(tmp_path / "labels/y.parquet")
    index = SampleIndex.open(
        "c",
        Cohort(root=str(tmp_path)),
        {"static": Static(codes=["LAB//"]).reader},
        tasks,
        tmp_path / "again",
    )
    (said,) = leaks(Samples([index]), tasks)

    assert said.startswith(
        "modality static, code LAB//outcome, its value: tells the label of y almost alone"
    )


def test_what_only_helps_or_few_subjects_have_is_left_alone(tmp_path):
    rows = [(s, 3, "LAB//helps", NOISE[s] + 2 * y) for s, y in YES.items()]
    rows += [(s, 2, "LAB//rare", float(YES[s])) for s in range(10)]
    rows += [(s, 2, f"LAB//noise{n}", MORE_NOISE[n, s]) for s in YES for n in range(40)]
    assert leaks(*cohort(tmp_path, rows, YES)) == []


def test_each_class_is_a_question(tmp_path):
    labels = {s: "abc"[s % 3] for s in range(90)}
    rows = [(s, 1, "LAB//code", float("abc".index(c))) for s, c in labels.items()]
    said = leaks(*cohort(tmp_path, rows, labels, Multiclass(label="y")))
    assert [text.partition(": ")[2].split(" almost")[0] for text in said] == [
        "tells the label of y/a", "tells the label of y/c",
    ]  # fmt: skip


class Unread:
    """Pieces of which those of some items cannot be read."""

    def __init__(self, numbers):
        self.numbers = numbers

    def lengths(self, number, view):
        return np.where(np.isin(number, self.numbers), 0, 1)


@pytest.mark.parametrize(
    ("unread", "suspect"), [(range(0, 60, 3), True), (range(0, 36, 3), True), (range(20), False)]
)
def test_files_that_cannot_be_read_may_be_the_label(tmp_path, unread, suspect):
    rows = [(s, 3, "LAB//file", NOISE[s]) for s in YES]
    samples, tasks = cohort(tmp_path, rows, YES)
    said = leaks(samples, tasks, {"static": Unread(list(unread))})
    assert bool(said) == suspect
    assert all(
        "items that cannot be read can tell the label of y: more often so where it is yes" in s
        for s in said
    )


@pytest.mark.parametrize(("without", "suspect"), [(0.6, True), (0.0, False)])
def test_a_modality_that_is_absent_for_one_answer_is_said(tmp_path, without, suspect):
    gone = {s for s, y in YES.items() if not y and s % 5 < 5 * without}
    rows = [(s, 3, "LAB//file", NOISE[s]) for s in YES if s not in gone] + [
        (s, 3, "OTHER", None) for s in YES
    ]
    said = leaks(*cohort(tmp_path, rows, YES))
    assert [
        text for text in said if "its absence can tell" in text and "where it is no" in text
    ] == said
    assert bool(said) == suspect


def test_one_answer_in_a_split_is_said_and_in_training_refused(tmp_path):
    rows = [(s, 3, "LAB//x", NOISE[s]) for s in YES]
    samples, tasks = cohort(tmp_path, rows, YES)
    positive, negative = (
        np.flatnonzero(samples.targets("y")[:, 0] == 1),
        np.flatnonzero(samples.targets("y")[:, 0] == 0),
    )
    both = np.arange(60)
    none = np.arange(0)
    assert check_answers(samples, {"train": both, "tuning": none, "held_out": both}, tasks) == (
        [],
        True,
    )

    (said,), learnable = check_answers(
        samples, {"train": both, "tuning": positive, "held_out": both}, tasks
    )
    assert said.startswith("tasks.y: the tuning split has one answer only")
    assert learnable

    rows = {"train": negative, "tuning": both, "held_out": both}
    assert check_answers(samples, rows, tasks)[1] is False
    with pytest.raises(
        DataError,
        match="the train split has one answer only; nothing can be learnt from it: correct",
    ):
        check_fold(samples, rows, tasks)
    assert len(check_fold(samples, rows, tasks, one_answer_will_do=True)) == 1


@settings(max_examples=50)
@given(
    st.lists(
        st.tuples(st.integers(0, 3), st.sampled_from([-1.0, 0.0, 0.5, 2.0]), st.booleans()),
        min_size=1,
        max_size=60,
    )
)
def test_each_codes_auroc_is_sklearns(rows):
    code, score, yes = (np.array(column) for column in zip(*rows, strict=True))
    found, num_yes, num_no = aurocs(code.astype(np.int64), score, yes.astype(bool), 4)
    for number in range(4):
        mine = code == number
        assert (num_yes[number], num_no[number]) == (
            yes[mine].sum(),
            (~yes[mine].astype(bool)).sum(),
        )
        if len(np.unique(yes[mine])) == 2:
            assert found[number] == pytest.approx(roc_auc_score(yes[mine], score[mine]))
        else:
            assert np.isnan(found[number])
