"""What of a cohort's facts is not as in training is told at the end, however the job got there."""

import polars as pl
import yaml

from clintune.cli import main
from clintune.scoring.summarize import strange_words
from helpers.scored_cohorts import score

WHAT = "of the facts have codes that the model does not know"


def change(cohort, **columns):
    """Change columns of the facts of a cohort."""
    for shard in (cohort / "data").iterdir():
        table = pl.read_parquet(shard)
        new = [
            pl.when(pl.col("time").is_null())
            .then(value)
            .otherwise(name)
            .alias(name)
            .cast(table.schema[name])
            for name, value in columns.items()
        ]
        table.with_columns(new).write_parquet(shard)


def notes(said):
    return [
        line for line in said.splitlines() if " of the facts " in line or " of the values " in line
    ]


def test_codes_that_the_model_does_not_know_are_told(run, cohort, tmp_path, capsys):
    change(cohort, code=pl.lit("OTHER//") + pl.col("code").cast(pl.String))
    out = tmp_path / "out"
    assert score(run, cohort, out, "shard_size=7") == 0
    (told,) = notes(capsys.readouterr().err)
    assert "% of the facts have codes that the model does not know" in told
    (out / "summary.json").unlink()
    (out / "shards" / "000003.json").unlink()
    assert main(["predict", "--resume", str(out)]) == 0
    assert notes(capsys.readouterr().err) == [told]


def test_codes_that_no_row_of_the_cohort_has_are_told(run, cohort, tmp_path, capsys):
    known = yaml.safe_load((run / "package" / "clintune.yaml").read_text())["statistics"]["static"][
        "codes"
    ]
    kept = sorted(known)[0]
    code = pl.col("code").cast(pl.String)
    change(cohort, code=pl.when(code == kept).then(code).otherwise(pl.lit("OTHER//") + code))
    assert score(run, cohort, tmp_path / "out") == 0
    told = (
        f"note: static: no row of the cohort has {len(known) - 1} of the {len(known)} codes "
        "that the model reads ("
    )
    assert told in capsys.readouterr().err


def test_values_in_another_unit_are_told(run, cohort, tmp_path, capsys):
    change(cohort, numeric_value=pl.col("numeric_value") * 1000)
    assert score(run, cohort, tmp_path / "out") == 0
    (told,) = notes(capsys.readouterr().err)
    assert told.endswith(
        "% of the values of facts lie more than 5 deviations from training; "
        "look whether units are the same"
    )


def test_a_cohort_as_in_training_is_not_told_of(run, quickstart, tmp_path, capsys):
    assert score(run, quickstart, tmp_path / "out", "shard_size=7") == 0
    assert notes(capsys.readouterr().err) == []


def test_shards_are_summed_and_what_is_little_is_not_told():
    def told(*counts):
        return list(strange_words([{"strange": {WHAT: [*count, 0.1]}} for count in counts]))

    assert told((6, 10), (6, 20)) == [f"note: 40 % {WHAT}"]
    assert told((5, 10), (5, 10)) == []
    assert told((20, 100), (0, 100)) == []
    assert told((0, 0)) == []
