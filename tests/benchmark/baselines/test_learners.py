"""Learners against plain scikit-learn, and what they do with gaps and with missing answers."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from clintune.benchmark.baselines.learners import (
    PENALTIES,
    Examples,
    fit_boosting,
    fit_logistic,
    fit_logistic_mean,
    fit_prevalence,
    fit_tfidf,
    late_fusion,
)
from clintune.core.errors import ConfigError

N = 120


@pytest.fixture
def examples():
    """Return examples of two modalities, the second absent in every third sample."""
    rng = np.random.default_rng(0)
    first, second = rng.standard_normal((N, 3)), rng.standard_normal((N, 5))
    answers = (first[:, 0] + second[:, 0] + rng.standard_normal(N) > 0).astype(np.int64)
    second[::3] = np.nan
    return Examples(
        inputs={"first": first, "second": second},
        answers=answers,
        subject=np.arange(N) // 2,
        by_subject=False,
    )


@pytest.mark.parametrize(
    ("fit", "fill"), [(fit_logistic, lambda _: 0), (fit_logistic_mean, np.nanmean)]
)
def test_logistic_regression_reads_marks_for_what_is_missing(examples, fit, fill):
    design = np.concatenate([*examples.inputs.values()], axis=1)
    present = ~np.isnan(design[:, 3])
    filled = np.stack([np.nan_to_num(column, nan=fill(column)) for column in design.T], axis=1)
    design = StandardScaler().fit_transform(np.c_[filled, np.ones(N), present])
    found = fit(examples, 2, 0)
    chances = found.predict(examples.inputs)
    candidates = [
        LogisticRegression(C=C, max_iter=2000).fit(design, examples.answers) for C in PENALTIES
    ]
    gaps = [np.abs(model.predict_proba(design) - chances).max() for model in candidates]
    assert min(gaps) < 1e-3
    assert found.parameters == 3 + 5 + 2 + 1


def test_the_penalty_depends_on_the_training_subjects_alone(examples):
    before = fit_logistic(examples, 2, 0).predict(examples.inputs)
    again = fit_logistic(examples, 2, 0).predict(examples.inputs)
    np.testing.assert_array_equal(before, again)


def test_boosting_is_that_of_scikit_learn_with_gaps_kept(examples):
    design = np.concatenate([*examples.inputs.values()], axis=1)
    expected = (
        HistGradientBoostingClassifier(random_state=3)
        .fit(design, examples.answers)
        .predict_proba(design)
    )
    np.testing.assert_allclose(fit_boosting(examples, 2, 3).predict(examples.inputs), expected)


def test_late_fusion_averages_the_modalities_that_a_sample_has(examples):
    found = late_fusion(fit_logistic)(examples, 2, 0)
    whole = np.ones(N, bool)
    first = fit_logistic(examples.take(whole, "first"), 2, 0).predict(
        {"first": examples.inputs["first"]}
    )
    present = np.arange(N) % 3 > 0
    second = fit_logistic(examples.take(present, "second"), 2, 0).predict(
        {"second": examples.inputs["second"]}
    )
    chances = found.predict(examples.inputs)
    np.testing.assert_allclose(chances[present], (first + second)[present] / 2)
    np.testing.assert_allclose(chances[~present], first[~present])
    nothing = {name: np.full_like(block, np.nan) for name, block in examples.inputs.items()}
    np.testing.assert_allclose(found.predict(nothing)[:, 1], examples.answers.mean())


def test_a_subject_counts_once_where_the_recipe_says_so():
    examples = Examples(
        inputs={"x": np.zeros((4, 1))},
        answers=np.array([1, 1, 1, 0]),
        subject=np.array([7, 7, 7, 8]),
        by_subject=True,
    )
    assert fit_prevalence(examples, 2, 0).predict(examples.inputs)[0, 1] == pytest.approx(0.5)


@pytest.mark.parametrize("fit", [fit_logistic, fit_boosting, late_fusion(fit_logistic)])
def test_classes_that_training_lacks_get_no_probability(examples, fit):
    three = replace(examples, answers=2 * examples.answers)
    chances = fit(three, 4, 0).predict(three.inputs)
    assert chances.shape == (N, 4)
    assert not chances[:, [1, 3]].any()
    np.testing.assert_allclose(chances.sum(1), 1)


@pytest.mark.parametrize("fit", [fit_logistic, fit_logistic_mean, fit_boosting])
def test_one_answer_alone_is_answered_to_everyone(examples, fit):
    only = examples.take(examples.answers == 1)
    assert (fit(only, 2, 0).predict(examples.inputs) == [0, 1]).all()


def test_words_tell_and_no_words_are_refused(examples):
    texts = np.array(
        [["fever and cough" if answer else "no complaints"] for answer in examples.answers], object
    )
    spoken = replace(examples, inputs={"text": texts})
    chances = fit_tfidf(spoken, 2, 0).predict(spoken.inputs)
    assert ((chances[:, 1] > 0.5) == examples.answers).all()
    silent = replace(examples, inputs={"text": np.full((N, 1), "", object)})
    with pytest.raises(ConfigError, match="no training sample has text"):
        fit_tfidf(silent, 2, 0)
