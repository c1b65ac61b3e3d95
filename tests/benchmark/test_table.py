"""The table: intervals over subjects and seeds, paired differences, and failed trials."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from clintune.benchmark.table import find_entries, make_rows, score_seeds, write_table
from clintune.evaluation.intervals import MEAN, bootstrap, intervals, paired_differences
from clintune.evaluation.scored import of_task
from helpers.finished_trials import TASKS, predict, written


def scored(predictions):
    return {name: of_task(part, TASKS[name]) for name, part in predictions.items()}


def test_one_seed_is_the_interval_of_an_evaluation():
    tasks = scored(predict(0, 0.3))
    table = score_seeds({5: tasks}, 200)
    expected = bootstrap(tasks, replicates=200)
    for task, metrics in expected.items():
        for metric, values in metrics.items():
            np.testing.assert_allclose(table[task][metric], values, err_msg=f"{task} {metric}")


@pytest.mark.parametrize("shuffled", [False, True])
def test_the_score_of_several_seeds_is_their_mean(shuffled):
    seeds = {seed: scored(predict(seed, 0.3, shuffled)) for seed in range(3)}
    table = score_seeds(seeds, 10)
    for task in (*TASKS, MEAN):
        alone = [intervals(tasks, replicates=0)[task]["auroc"].value for tasks in seeds.values()]
        assert table[task]["auroc"][0] == pytest.approx(np.mean(alone))


def test_more_seeds_do_not_pass_for_more_subjects():
    """Seeds that agree leave the interval as wide as one; own draws would halve that of four."""
    one = score_seeds({0: scored(predict(0, 0.3))}, 500)["icu"]["auroc"].std()
    same = score_seeds({seed: scored(predict(0, 0.3)) for seed in range(4)}, 500)["icu"][
        "auroc"
    ].std()
    assert same == pytest.approx(one)
    fixed = predict(0, 0.3)
    apart = {}
    for seed in range(4):
        folds = predict(seed, 0.3, shuffled=True)["icu"].fold
        apart[seed] = scored({name: replace(part, fold=folds) for name, part in fixed.items()})
    assert score_seeds(apart, 500)["icu"]["auroc"].std() > 0.65 * one


def test_rows_compare_with_the_best_baseline_over_both_seeds(tmp_path):
    finished = dict(
        [
            *(written(tmp_path, "prevalence", seed, 5.0) for seed in (0, 1)),
            *(written(tmp_path, "logistic", seed, 0.3) for seed in (0, 1)),
            *(written(tmp_path, "lora", seed, 0.2, parameters=7) for seed in (1, 2)),
        ]
    )
    rows = {row.entry.method: row for row in make_rows(find_entries(finished), replicates=100)}
    assert {row.baseline for row in rows.values()} == {"logistic"}
    assert rows["logistic"].differences is None
    assert rows["lora"].main == MEAN
    expected = paired_differences(scored(predict(1, 0.3)), scored(predict(1, 0.2)), replicates=0)
    assert rows["lora"].differences[MEAN]["auroc"].value == pytest.approx(
        expected[MEAN]["auroc"].value
    )

    write_table(tmp_path / "results.parquet", list(rows.values()))
    table = pl.read_parquet(tmp_path / "results.parquet").filter(task=MEAN, metric="auroc")
    assert table["num_seeds"].to_list() == [2, 2, 2]
    assert table["parameters"].to_list() == [3, 3, 7]
    assert table["num_subjects"].to_list() == [30, 30, 30]
    assert table.filter(method="lora")["difference"].item() == pytest.approx(
        expected[MEAN]["auroc"].value
    )


def test_a_method_without_a_seed_in_common_is_not_compared(tmp_path):
    finished = dict([written(tmp_path, "logistic", 0, 0.3), written(tmp_path, "lora", 1, 0.2)])
    rows = make_rows(find_entries(finished), replicates=10)
    assert [row.differences for row in rows] == [None, None]
