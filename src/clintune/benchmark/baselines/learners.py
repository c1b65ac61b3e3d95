"""Classifiers of scikit-learn over features with gaps.

Each choice is made in folds of the training subjects. Shapes: N samples, W features, C answers to
one question. Samples without any modality get the share of each answer.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss, make_scorer
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from clintune.benchmark.baselines.features import Inputs
from clintune.core.errors import ConfigError
from clintune.training.probe_inputs import subject_folds, subject_weights

Floats = NDArray[np.float64]
PENALTIES = np.logspace(-4, 1, 6)
"""Values of C, the inverse of the penalty, over standardised features."""
TEXT_PENALTIES = np.logspace(-1, 4, 6)
"""Values of C over TF-IDF, whose rows are of length one."""


@dataclass(frozen=True, kw_only=True)
class Examples:
    """Training samples of one question: inputs, number of the answer [N], subject [N]."""

    inputs: Inputs
    answers: NDArray[np.int64]
    subject: NDArray[np.int64]
    by_subject: bool
    """Whether each subject counts once, however many samples it has."""

    def __len__(self) -> int:
        return len(self.answers)

    @property
    def weight(self) -> Floats:
        """Return the weight of each sample [N]."""
        return subject_weights(self.subject).numpy() if self.by_subject else np.ones(len(self))

    def take(self, rows: NDArray[np.bool_], *modalities: str) -> "Examples":
        """Return some samples, with some modalities."""
        inputs = {name: self.inputs[name][rows] for name in modalities or self.inputs}
        return replace(self, inputs=inputs, answers=self.answers[rows], subject=self.subject[rows])


@dataclass(frozen=True)
class Fitted:
    """A fitted classifier: from inputs to the probabilities [N, C].

    `parameters` is how many weights were fitted, None where they are no weights.
    """

    predict: Callable[[Inputs], Floats]
    parameters: int | None


Fit = Callable[[Examples, int, int], Fitted]
"""Function from training examples, C and a seed to what was fitted."""


def fit_prevalence(examples: Examples, num_answers: int, seed: int) -> Fitted:
    """Answer everyone with the weighted share of each answer among the examples."""
    shares = np.bincount(examples.answers, examples.weight, num_answers) / examples.weight.sum()
    return Fitted(lambda inputs: np.tile(shares, (_length(inputs), 1)), num_answers - 1)


def fit_logistic(examples: Examples, num_answers: int, seed: int) -> Fitted:
    """Fit penalised logistic regression to standardised features.

    A missing modality is zeros, and marked. Zeros are far from any embedding, so that being missing
    can count: its mark alone would be shrunk by the penalty.
    """
    return _fit_filled("constant", examples, num_answers, seed)


def fit_logistic_mean(examples: Examples, num_answers: int, seed: int) -> Fitted:
    """Fit the same with the training mean in place of a missing modality.

    The mean tells nothing where more is missing than in training. Zeros mislead where being missing
    goes with the answer in training, and comes by chance later.
    """
    return _fit_filled("mean", examples, num_answers, seed)


def fit_boosting(examples: Examples, num_answers: int, seed: int) -> Fitted:
    """Fit gradient boosted trees (LightGBM's algorithm).

    They send what is missing down a branch of its own.
    """
    trees = HistGradientBoostingClassifier(random_state=seed)
    return _fit(trees, _side_by_side, examples, num_answers)


def fit_tfidf(examples: Examples, num_answers: int, seed: int) -> Fitted:
    """Fit penalised logistic regression to TF-IDF of single words and pairs.

    Raises ConfigError where no example has text.
    """
    if not any(examples.inputs["text"][:, 0]):
        raise ConfigError("tfidf: no training sample has text; take it out of the suite")
    vectorizer = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)
    steps = make_pipeline(vectorizer, LogisticRegression(max_iter=2000))
    return _fit_penalised(steps, TEXT_PENALTIES, _texts, examples, num_answers, seed)


def late_fusion(fit: Fit) -> Fit:
    """Return what fits each modality by itself, and averages those that a sample has."""

    def fit_each(examples: Examples, num_answers: int, seed: int) -> Fitted:
        base = fit_prevalence(examples, num_answers, seed)
        blocks = examples.inputs.items()
        parts = {name: examples.take(_present(block), name) for name, block in blocks}
        fitted = {name: fit(part, num_answers, seed) for name, part in parts.items() if len(part)}

        def predict(inputs: Inputs) -> Floats:
            total, count = np.zeros((_length(inputs), num_answers)), np.zeros((_length(inputs), 1))
            for name, one in fitted.items():
                rows = _present(inputs[name])
                if rows.any():
                    total[rows] += one.predict({name: inputs[name][rows]})
                    count[rows] += 1
            return np.where(count > 0, total / np.maximum(count, 1), base.predict(inputs))

        known = [one.parameters for one in fitted.values() if one.parameters is not None]
        return Fitted(predict, sum(known) if len(known) == len(fitted) else None)

    return fit_each


FITS: Mapping[str, Fit] = {
    "prevalence": fit_prevalence,
    "logistic": fit_logistic,
    "logistic_mean": fit_logistic_mean,
    "boosting": fit_boosting,
    "tfidf": fit_tfidf,
    "late_logistic": late_fusion(fit_logistic),
    "late_boosting": late_fusion(fit_boosting),
}


def _fit_filled(strategy: str, examples: Examples, num_answers: int, seed: int) -> Fitted:
    filler = SimpleImputer(strategy=strategy, fill_value=0.0, keep_empty_features=True)
    steps = make_pipeline(filler, StandardScaler(), LogisticRegression(max_iter=2000))
    return _fit_penalised(steps, PENALTIES, _marked, examples, num_answers, seed)


def _fit_penalised(
    steps: Pipeline,
    penalties: Floats,
    design: Callable[[Inputs], NDArray[Any]],
    examples: Examples,
    num_answers: int,
    seed: int,
) -> Fitted:
    """Choose the penalty of the pipeline's logistic regression, then fit.

    The penalty with the least log loss in folds of the subjects is chosen.
    """
    folds = _inner_folds(examples, seed)
    if folds:
        asks = {"response_method": "predict_proba", "labels": np.unique(examples.answers)}
        scorer = make_scorer(log_loss, greater_is_better=False, **asks)
        steps = GridSearchCV(steps, {"logisticregression__C": penalties}, scoring=scorer, cv=folds)
    return _fit(steps, design, examples, num_answers)


def _fit(
    estimator: BaseEstimator,
    design: Callable[[Inputs], NDArray[Any]],
    examples: Examples,
    num_answers: int,
) -> Fitted:
    """Fit an estimator; examples of one answer alone teach nothing but that."""
    if len(np.unique(examples.answers)) < 2:
        return fit_prevalence(examples, num_answers, 0)

    # Weights are given only where they differ: scikit-learn 1.9 bins weighted features some fifteen
    # times as slowly.
    last = estimator.estimator if isinstance(estimator, GridSearchCV) else estimator
    step = f"{last.steps[-1][0]}__" if isinstance(last, Pipeline) else ""
    weight = f"{step}sample_weight"
    weights = {weight: examples.weight} if examples.by_subject else {}
    with threadpool_limits(1):  # on so few rows threads wait for each other more than they work
        estimator.fit(design(examples.inputs), examples.answers, **weights)

    def predict(inputs: Inputs) -> Floats:
        chances = np.zeros((_length(inputs), num_answers))
        with threadpool_limits(1):
            chances[:, estimator.classes_] = estimator.predict_proba(design(inputs))
        return chances

    best = estimator.best_estimator_ if isinstance(estimator, GridSearchCV) else estimator
    linear = best[-1] if isinstance(best, Pipeline) else None
    num_weights = None if linear is None else linear.coef_.size + linear.intercept_.size
    return Fitted(predict, num_weights)


def _inner_folds(
    examples: Examples, seed: int
) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Return the rows to train on and to validate of each fold by subject.

    A fold whose training rows lack an answer is left out.
    """
    fold = subject_folds(examples.subject, examples.answers.astype(np.float32), seed).numpy()
    num_answers = len(np.unique(examples.answers))
    pairs = []
    for number in np.unique(fold):
        train, test = np.flatnonzero(fold != number), np.flatnonzero(fold == number)
        if len(np.unique(examples.answers[train])) == num_answers:
            pairs.append((train, test))
    return pairs


def _texts(inputs: Inputs) -> NDArray[Any]:
    texts: NDArray[Any] = inputs["text"][:, 0]
    return texts


def _side_by_side(inputs: Inputs) -> Floats:
    return np.concatenate(list(inputs.values()), axis=1)


def _marked(inputs: Inputs) -> Floats:
    """Return all features, NaN where a modality is missing, and a mark for each that is there."""
    marks = [_present(block)[:, None].astype(np.float64) for block in inputs.values()]
    return np.concatenate([*inputs.values(), *marks], axis=1)


def _present(block: NDArray[Any]) -> NDArray[np.bool_]:
    present: NDArray[np.bool_] = ~np.isnan(block).all(axis=1)
    return present


def _length(inputs: Inputs) -> int:
    return len(next(iter(inputs.values())))
