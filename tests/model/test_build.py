"""A modality of which training sees nothing is refused with the cause."""

import numpy as np
import polars as pl
import pytest

from clintune.core.errors import DataError
from clintune.modalities.imaging import Imaging
from clintune.modalities.notes import Notes
from clintune.model.build import fit_statistics
from helpers.opened_samples import open_samples
from helpers.spoiling import LABELS


@pytest.fixture
def refused(cohort, tmp_path):
    """Return a function that tells why a modality is refused for the samples `rows`."""

    def refused(modality, rows=None):
        modalities = {"it": modality}
        samples = open_samples([cohort], modalities, tmp_path / "cache")
        rows = (
            np.arange(len(samples))
            if rows is None
            else np.flatnonzero(rows(samples.num_items("it")))
        )
        with pytest.raises(
            DataError, match=r"^modalities\.it: no training sample has an item of it: "
        ) as caught:
            fit_statistics(modalities, samples, rows, tmp_path / "cache")
        return str(caught.value)

    return refused


def imaging(**settings):
    return Imaging(source="random", config={"architecture": "cnn", "widths": [4]}, **settings)


def test_a_media_modality_that_reads_no_row_names_its_column(refused, cohort):
    for shard in (cohort / "data").iterdir():
        pl.read_parquet(shard).with_columns(image_path=pl.lit(None, pl.String)).write_parquet(shard)
    assert (
        "it reads no row of the cohorts; "
        "fill the column image_path of their tables, list it in metadata/dat"
        in (refused(imaging()))
    )


def test_another_that_reads_no_row_names_its_codes(refused, cohort):
    for shard in (cohort / "data").iterdir():
        table = pl.read_parquet(shard)
        table.with_columns(text_value=pl.lit(None, table.schema["text_value"])).write_parquet(shard)
    said = refused(Notes(source="random", tokenizer="bundled:minilm"))
    assert said.endswith("it reads no row of the cohorts; check its codes, or drop the modality")


def test_rows_that_come_too_late_are_counted(refused, cohort):
    num_rows = sum(
        len(pl.read_parquet(shard).drop_nulls("image_path"))
        for shard in (cohort / "data").iterdir()
    )
    labels = pl.read_parquet(cohort / LABELS)
    labels.with_columns(pl.col("prediction_time").dt.offset_by("-9y")).write_parquet(
        cohort / LABELS
    )
    said = refused(imaging())
    assert (
        f"it reads {num_rows} rows, and no sample sees any: all come after the prediction times"
        in said
    )


def test_rows_that_others_see_are_told_from_those(refused):
    assert "rows, which samples outside the training split alone see; check the splits" in refused(
        imaging(), lambda num_items: num_items == 0
    )
