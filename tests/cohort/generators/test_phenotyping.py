import numpy as np
import polars as pl
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from clintune.cohort.generators.conditions import CONDITIONS
from clintune.cohort.generators.phenotyping import write_phenotyping
from helpers.rows_by_hand import all_rows

SUBJECTS = 1500


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("cohorts") / "phenotyping"
    write_phenotyping(root, subjects=SUBJECTS)
    return root


def read_labels(root):
    files = sorted((root / "labels/phenotypes").glob("*.parquet"))
    return {file.stem: pl.read_parquet(file) for file in files}


def test_prevalence_runs_from_rare_to_common(root):
    labels = read_labels(root)
    assert set(labels) == {condition.name for condition in CONDITIONS}
    assert len(labels) == 25
    prevalence = [table["boolean_value"].mean() for table in labels.values()]
    assert min(prevalence) < 0.02
    assert 0.35 < max(prevalence) < 0.45
    assert all(0.93 < len(table) / SUBJECTS < 0.97 for table in labels.values())


def test_notes_and_labs_carry_the_phenotypes_in_part(root):
    data = all_rows(root)
    label = read_labels(root)["diabetes"]
    known = data.join(label, on="subject_id").filter(pl.col("time") <= pl.col("prediction_time"))
    texts = (
        known.drop_nulls("text_value")
        .group_by("subject_id")
        .agg(pl.col("text_value").str.join(" "))
    )
    table = label.join(texts, on="subject_id").sort("subject_id")
    words = TfidfVectorizer(ngram_range=(1, 2)).fit_transform(table["text_value"])
    target, half = table["boolean_value"].to_numpy(), len(table) // 2
    model = LogisticRegression(C=10).fit(words[:half], target[:half])
    assert 0.65 < roc_auc_score(target[half:], model.decision_function(words[half:])) < 0.95
    lab = known.filter(pl.col("code") == "LAB//HBA1C")
    assert 0.8 < roc_auc_score(lab["boolean_value"], lab["numeric_value"]) < 1


def test_diagnoses_stand_after_the_prediction_time_only(root):
    data = all_rows(root)
    label = read_labels(root)["gout"].select("subject_id", "prediction_time")
    diagnoses = data.filter(pl.col("code").str.starts_with("DIAGNOSIS//")).join(
        label, on="subject_id"
    )
    assert (diagnoses["time"] > diagnoses["prediction_time"]).all()


def test_a_seed_reproduces_the_cohort_and_a_subject_stands_alone(root, tmp_path):
    write_phenotyping(tmp_path / "few", subjects=30)
    few = pl.concat([pl.read_parquet(path) for path in sorted((tmp_path / "few/data").glob("*"))])
    many = pl.concat([pl.read_parquet(path) for path in sorted((root / "data").glob("*"))])
    assert few.equals(many.filter(pl.col("subject_id") <= 30))
    write_phenotyping(tmp_path / "other", subjects=30, seed=1)
    other = all_rows(tmp_path / "other")
    assert not np.array_equal(few["code"].to_numpy(), other["code"].to_numpy())
