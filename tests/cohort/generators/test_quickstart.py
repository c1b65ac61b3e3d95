from datetime import datetime

import numpy as np
import polars as pl
import pyarrow.parquet as pq
import pytest
from meds import DataSchema, LabelSchema, SubjectSplitSchema
from PIL import Image
from sklearn.metrics import roc_auc_score

from clintune.cohort.generators.actigraphy import activity_counts
from clintune.cohort.generators.chest import chest_image
from clintune.cohort.generators.notes import _BREATH, _COURSE, progress_note
from clintune.cohort.generators.quickstart import _draw, write_quickstart
from clintune.modalities.signals import read_signal
from helpers.folders import contents
from helpers.rows_by_hand import all_rows

SMALL = {"subjects": 24, "image_size": 24, "signal_days": 1}
FOLDERS = ("data", "images", "labels", "metadata", "signals")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("cohorts") / "quickstart"
    write_quickstart(root, **SMALL)
    return root


def test_a_seed_reproduces_every_byte_and_another_seed_does_not(root, tmp_path):
    write_quickstart(tmp_path / "again", **SMALL)
    write_quickstart(tmp_path / "other", **SMALL, seed=1)
    assert contents(tmp_path / "again") == contents(root)
    assert contents(tmp_path / "other") != contents(root)


def test_files_keep_the_meds_schemas(root):
    assert sorted(path.name for path in root.iterdir()) == list(FOLDERS)
    shards = sorted((root / "data").glob("*.parquet"))
    assert len(shards) == 4
    for shard in shards:
        DataSchema.validate(DataSchema.align(pq.read_table(shard)))
    LabelSchema.validate(LabelSchema.align(pq.read_table(root / "labels/deterioration.parquet")))
    SubjectSplitSchema.validate(
        SubjectSplitSchema.align(pq.read_table(root / "metadata/subject_splits.parquet"))
    )
    codes = pl.read_parquet(root / "metadata/codes.parquet")["code"]
    assert set(all_rows(root)["code"]) == set(codes)


def test_media_files_exist_and_can_be_read(root):
    data = all_rows(root)
    images = data["image_path"].drop_nulls().to_list()
    assert sorted(images) == sorted(
        str(path.relative_to(root)) for path in (root / "images").iterdir()
    )
    for path in images:
        with Image.open(root / path) as image:
            assert (image.size, image.mode) == ((24, 24), "L")
    for path in data["waveform_path"].drop_nulls():
        assert read_signal(root / path, path).values.shape == (1, 1440)


def test_a_subject_does_not_depend_on_how_many_there_are(root, tmp_path):
    write_quickstart(tmp_path / "few", **{**SMALL, "subjects": 8})
    few = all_rows(tmp_path / "few").sort("subject_id", "time", "code", maintain_order=True)
    many = (
        all_rows(root)
        .filter(pl.col("subject_id") <= 8)
        .sort("subject_id", "time", "code", maintain_order=True)
    )
    assert few.equals(many)


def test_only_rows_after_the_prediction_give_the_outcome_away(root):
    labels = pl.read_parquet(root / "labels/deterioration.parquet")
    data = all_rows(root).join(labels, on="subject_id")
    after, before = (
        data.filter(pl.col("time") > pl.col("prediction_time")),
        data.filter(~(pl.col("time") > pl.col("prediction_time")).fill_null(False)),
    )
    revealed = after.filter(pl.col("code") == "DETERIORATION")
    assert (
        revealed.select(pl.col("numeric_value").cast(pl.Boolean) == pl.col("boolean_value"))
        .to_series()
        .all()
    )
    assert set(before["code"]) == {
        "NOTE//PROGRESS",
        "IMAGE//CXR",
        "ACTIGRAPHY",
        "AGE",
        "SEX//F",
        "SEX//M",
    }


def test_three_independent_factors_decide_together():
    patients = [_draw(0, number) for number in range(1, 3001)]
    factors = np.array([patient.factors for patient in patients])
    outcome = np.array([patient.outcome for patient in patients])
    assert 0.35 < outcome.mean() < 0.5
    assert np.abs(np.corrcoef(factors.T) - np.eye(3)).max() < 0.05
    assert roc_auc_score(outcome, factors.sum(1)) >= 0.95
    assert all(0.7 <= roc_auc_score(outcome, factors[:, which]) <= 0.8 for which in range(3))
    missing = 1 - np.array([patient.observed for patient in patients]).mean(0)
    np.testing.assert_allclose(missing, 0.05 * 2 / 3, atol=0.01)
    assert all(any(patient.observed) for patient in patients)


def test_notes_say_more_the_worse_a_patient_does():
    def mean_level(severity):
        levels = []
        for number in range(60):
            note = progress_note(np.random.default_rng(number), severity)
            phrases = enumerate(zip(_BREATH, _COURSE, strict=True))
            levels += [
                level
                for level, pair in phrases
                for phrase in (*pair[0], *pair[1])
                if phrase in note
            ]
        return np.mean(levels)

    means = [mean_level(severity) for severity in (-2, -0.5, 0.5, 2)]
    assert means == sorted(means)
    assert means[-1] - means[0] > 3


def test_opacities_fill_the_lungs_the_worse_a_patient_does():
    lung = (slice(24, 40), slice(14, 24))

    def mean_shade(severity):
        images = [
            np.asarray(chest_image(np.random.default_rng(number), severity, 64))
            for number in range(40)
        ]
        return np.mean([image[lung].mean() / image.mean() for image in images])

    shades = [mean_shade(severity) for severity in (-2, 0, 2)]
    assert shades == sorted(shades)


def test_nights_are_the_more_broken_the_worse_a_patient_does():
    midnight = datetime(2020, 1, 1)

    def mean_counts(severity):
        counts = [
            activity_counts(np.random.default_rng(number), severity, midnight, 2)[60:]
            for number in range(30)
        ]
        return np.nanmean([count[:240] for count in counts]), np.nanmean(
            [count[600:960] for count in counts]
        )

    (calm, day_calm), (broken, day_broken) = mean_counts(-2), mean_counts(2)
    assert broken > 3 * calm
    assert day_broken == pytest.approx(day_calm, rel=0.1)
    assert np.isnan(
        np.concatenate(
            [activity_counts(np.random.default_rng(n), 0, midnight, 2) for n in range(9)]
        )
    ).any()
