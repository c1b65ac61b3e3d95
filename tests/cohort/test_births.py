import polars as pl
from cohort_samples import at, labels, open_index, write_shard


def opened(root, births):
    write_shard(root / "data/0.parquet", [(s, m, "MEDS_BIRTH", None) for s, m in births] + [(9, 0, "a", 1.0)])
    return open_index(root, {"task": labels(*((s, 10, [1.0]) for s in (1, 2, 9)))})


def test_births_after_the_prediction_time_and_two_births_are_counted(tmp_path, capsys):
    index = opened(tmp_path, [(1, 11), (2, 0), (2, 5), (9, 10)])
    assert index.remarks == [
        "1 subjects have births at several times; each counts: keep one row MEDS_BIRTH a subject",
        "1 samples stand before their subject's birth and have no age; correct MEDS_BIRTH",
    ]
    assert "made_up: 1 samples stand before" in capsys.readouterr().err
    opened(tmp_path, [(1, 11), (2, 0), (2, 5), (9, 10)])
    assert "made_up: 1 samples stand before" in capsys.readouterr().err, "said each time"


def test_births_that_can_be_say_nothing(tmp_path, capsys):
    assert opened(tmp_path, [(1, 10), (2, 0), (2, 0), (9, None)]).remarks == []
    assert capsys.readouterr().err == ""


def test_births_are_compared_in_microseconds(tmp_path):
    root = tmp_path / "data"
    root.mkdir()
    moment = at(10).replace(microsecond=1)
    pl.DataFrame({"subject_id": [1, 1], "time": [moment, at(0)], "code": ["MEDS_BIRTH", "a"]}).write_parquet(
        root / "0.parquet"
    )
    assert len(open_index(tmp_path, {"task": labels((1, 10, [1.0]))}).remarks) == 1
