"""What a fold lacks to be trained on: every task that cannot learn is found."""

import numpy as np
import pytest

from clintune.cohort.samples import Samples
from clintune.core.errors import DataError
from clintune.experiment.fold_data import check_fold, training_problems
from helpers.cohort_samples import labels, open_index, write_shard

UNKNOWN = float("nan")


def open_samples(root):
    write_shard(root / "data/0.parquet", [(subject, 0, "a", 1.0) for subject in (1, 2, 3)])
    tasks = {
        "first": labels((1, 5, [UNKNOWN]), (2, 5, [UNKNOWN]), (3, 5, [1.0])),
        "second": labels((1, 5, [0.0]), (2, 5, [1.0])),
        "third": labels((3, 5, [1.0])),
    }
    return Samples([open_index(root, tasks)])


def test_every_task_without_a_training_label_is_found(tmp_path):
    samples, rows = open_samples(tmp_path), {"train": np.array([0, 1])}
    problems = list(training_problems(samples, rows["train"]))
    assert [problem.where for problem in problems] == ["tasks.first", "tasks.third"]
    with pytest.raises(DataError) as error:
        check_fold(samples, rows, {})
    assert str(error.value) == str(problems[0])


def test_a_fold_without_training_samples_has_one_problem(tmp_path):
    (problem,) = training_problems(open_samples(tmp_path), np.empty(0, np.int64))
    assert problem.what == "no sample is in the training split"
