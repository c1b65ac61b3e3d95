import tempfile
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clintune.cohort.linked import LINKED_FILE, linked_numbers
from clintune.cohort.splits import (
    EXACT,
    assign_folds,
    fold_splits,
    group_folds,
    read_folds,
    subject_splits,
    subsample_train,
)
from clintune.cohort.writer import write_subject_table
from clintune.config.schema import Splits
from clintune.core.errors import ConfigError, DataError
from helpers.cohort_samples import People

IDS = st.lists(st.integers(1, 10**9), min_size=10, max_size=150)
FRACTIONS = st.tuples(st.floats(0, 0.4), st.floats(0, 0.4))


def index_of(ids, root=Path("/nowhere")):
    return People(np.sort(np.array(ids, np.int64)), root)


def labels_of(index, number=2):
    """Return a label a subject, on each of its samples."""
    return ((index.subject_ids * 2654435761 >> 7) % number).astype(np.float32)[:, None]


def parts_of(index, part):
    """Return the set of parts that each subject's samples are in."""
    return [
        set(part[index.subject_ids == subject].tolist()) for subject in np.unique(index.subject_ids)
    ]


@given(IDS, FRACTIONS, st.integers(0, 5), st.booleans())
def test_no_subject_is_in_two_splits_and_draws_repeat(ids, fractions, seed, stratified):
    index, splits = index_of(ids), Splits(tuning=fractions[0], held_out=fractions[1], seed=seed)
    labels = labels_of(index) if stratified else None
    drawn = subject_splits(index, splits, labels)
    assert all(len(parts) == 1 for parts in parts_of(index, drawn))
    np.testing.assert_array_equal(drawn, subject_splits(index, splits, labels))


@settings(max_examples=20)
@given(st.integers(1, 10**6), IDS, FRACTIONS)
def test_new_subjects_move_no_old_one_of_a_large_cohort(first, new, fractions):
    splits, ids = (
        Splits(tuning=fractions[0], held_out=fractions[1]),
        list(range(first, first + EXACT + 1)),
    )
    before, after = index_of(ids), index_of(ids + new)
    where = dict(
        zip(after.subject_ids.tolist(), subject_splits(after, splits).tolist(), strict=True)
    )
    assert [where[subject] for subject in before.subject_ids.tolist()] == subject_splits(
        before, splits
    ).tolist()


@given(st.sets(st.integers(1, 10**9), min_size=1, max_size=150), FRACTIONS)
def test_small_cohorts_are_split_in_exact_sizes(ids, fractions):
    drawn = subject_splits(
        index_of(sorted(ids)), Splits(tuning=fractions[0], held_out=fractions[1])
    )
    assert abs(np.sum(drawn == "held_out") - fractions[1] * len(ids)) <= 0.5 + 1e-6
    assert abs(np.sum(drawn == "train") - (1 - sum(fractions)) * len(ids)) <= 0.5 + 1e-6


def test_sixty_subjects_hold_out_nine():
    drawn = subject_splits(index_of(range(1, 61)), Splits())
    assert [int(np.sum(drawn == name)) for name in ("train", "tuning", "held_out")] == [42, 9, 9]


def test_fractions_and_seeds_do_what_they_say():
    index = index_of(range(20_000))
    drawn = subject_splits(index, Splits(tuning=0.1, held_out=0.25))
    assert np.mean(drawn == "tuning") == pytest.approx(0.1, abs=0.01)
    assert np.mean(drawn == "held_out") == pytest.approx(0.25, abs=0.01)
    other = subject_splits(index, Splits(tuning=0.1, held_out=0.25, seed=1))
    assert np.mean((drawn == "held_out") & (other == "held_out")) == pytest.approx(
        0.25**2, abs=0.01
    )


@given(IDS, FRACTIONS, st.integers(1, 4))
def test_each_stratum_has_its_share_of_each_split(ids, fractions, strata):
    index = index_of(sorted(set(ids)))
    labels = labels_of(index, strata)
    drawn = subject_splits(index, Splits(tuning=fractions[0], held_out=fractions[1]), labels)
    for value in range(strata):
        of_stratum = drawn[labels[:, 0] == value]
        assert abs(np.sum(of_stratum == "held_out") - len(of_stratum) * fractions[1]) <= 1
        assert abs(np.sum(of_stratum == "tuning") - len(of_stratum) * fractions[0]) <= 2


@given(
    IDS.filter(lambda ids: len(set(ids)) >= 5), st.integers(2, 5), st.integers(0, 3), st.booleans()
)
def test_folds_hold_whole_subjects_in_equal_numbers(ids, folds, repeat, stratified):
    index = index_of(ids)
    labels = labels_of(index, 3) if stratified else None
    drawn = assign_folds(index, folds, 0, repeat, labels)
    assert all(len(parts) == 1 for parts in parts_of(index, drawn))
    _, first = np.unique(index.subject_ids, return_index=True)
    sizes = np.bincount(drawn[first], minlength=folds)
    assert sizes.max() - sizes.min() <= 1
    if stratified:
        for value in range(3):
            sizes = np.bincount(drawn[first][labels[first, 0] == value], minlength=folds)
            assert sizes.max() - sizes.min() <= 1


def test_repeats_draw_other_folds():
    index = index_of(range(200))
    draws = [assign_folds(index, 5, 0, repeat) for repeat in range(3)]
    assert all(np.mean(draws[0] == other) < 0.4 for other in draws[1:])


def test_tiny_strata_survivors_and_many_columns_are_balanced():
    index = index_of(range(60))
    survival = np.column_stack([np.linspace(1, 900, 60), np.arange(60) % 2]).astype(np.float32)
    survival[::7] = np.nan
    drawn = assign_folds(index, 5, 0, stratify=survival)
    assert np.bincount(drawn).tolist() == [12] * 5
    rare = np.zeros((60, 1), np.float32)
    rare[3] = 1
    assert np.bincount(assign_folds(index, 5, 0, stratify=rare)).tolist() == [12] * 5


@settings(max_examples=30)
@given(IDS.filter(lambda ids: len(set(ids)) >= 5), st.integers(0, 4), st.floats(0, 0.5))
def test_a_fold_is_held_out_whole(ids, fold, fraction):
    index = index_of(ids)
    folds = assign_folds(index, 5, 0)
    drawn = fold_splits(index, folds, fold, fraction, 0, labels_of(index))
    assert ((drawn == "held_out") == (folds == fold)).all()
    assert all(len(parts) == 1 for parts in parts_of(index, drawn))
    rest = len(np.unique(index.subject_ids[folds != fold]))
    assert abs(len(np.unique(index.subject_ids[drawn == "tuning"])) - fraction * rest) <= 1


def test_linked_subjects_never_part():
    with tempfile.TemporaryDirectory() as folder:
        index = index_of(range(100), Path(folder))
        (index.root / "metadata").mkdir()
        pairs = pl.DataFrame(
            {"subject_id": range(50), "unit": [number - number % 2 for number in range(50)]}
        )
        pairs.write_parquet(index.root / "metadata/linked_subjects.parquet")
        for drawn in (
            subject_splits(index, Splits(tuning=0.3, held_out=0.3)),
            subject_splits(index, Splits(tuning=0.3, held_out=0.3), labels_of(index)),
            assign_folds(index, 5, 0),
            fold_splits(index, assign_folds(index, 5, 0), 1, 0.3, 0),
        ):
            assert (drawn[:50:2] == drawn[1:50:2]).all()
            assert len(set(drawn[50:].tolist())) > 1


@pytest.mark.parametrize("units", [[1.0, None], ["a", "b"]])
def test_units_that_are_no_whole_numbers_are_refused(tmp_path, units):
    index = index_of([1, 2], tmp_path)
    write_table(tmp_path / "metadata/linked_subjects.parquet", subject_id=[1, 2], unit=units)
    with pytest.raises(
        DataError, match=r"column unit is (Float64|String); number the units: cast it to int64"
    ):
        subject_splits(index, Splits())


@pytest.mark.parametrize("name", ["subject_splits", "linked_subjects"])
def test_a_table_of_another_format_is_not_passed_over(tmp_path, name):
    index = index_of([1, 2], tmp_path)
    (tmp_path / "metadata").mkdir()
    (tmp_path / f"metadata/{name}.csv").write_text(
        "subject_id,unit,split\n1,7,train\n2,7,held_out\n"
    )
    with pytest.raises(DataError, match=rf"{name}\.csv: is not read; write it as {name}\.parquet"):
        subject_splits(index, Splits())


def write_table(path, **columns):
    path.parent.mkdir(exist_ok=True)
    pl.DataFrame(columns).write_parquet(path)


@pytest.mark.parametrize(
    ("column", "values", "read", "words"),
    [
        (
            "split",
            ["train", "tuning", "train"],
            lambda i: subject_splits(i, Splits()),
            "splits, as train and tuning",
        ),
        (
            "fold",
            [0, 3, 1],
            lambda i: read_folds(Path("metadata/t.parquet"), i),
            "folds, as 0 and 3",
        ),
        (
            "site",
            ["north", "south", "south"],
            lambda i: group_folds(i, Path("metadata/t.parquet"), "site", ["south"]),
            "splits, as held_out and train",
        ),
    ],
)
def test_a_file_that_parts_linked_subjects_is_refused(tmp_path, column, values, read, words):
    index = index_of([4001, 4002, 4003], tmp_path)
    name = "subject_splits" if column == "split" else "t"
    write_table(tmp_path / "metadata/linked_subjects.parquet", subject_id=[4001, 4002], unit=[7, 7])
    write_table(
        tmp_path / f"metadata/{name}.parquet", subject_id=[4001, 4002, 4003], **{column: values}
    )
    with pytest.raises(
        DataError, match=rf"{name}\.parquet: parts linked subjects: 1 unit of .* in several {words}"
    ) as e:
        read(index)
    assert "400" not in str(e.value).replace(str(tmp_path), "")
    write_table(
        tmp_path / f"metadata/{name}.parquet",
        subject_id=[4001, 4002, 4003],
        **{column: values[:1] * 2 + values[1:2]},
    )
    assert len(read(index)) == 3


def write_splits(index, subjects, splits):
    (index.root / "metadata").mkdir(exist_ok=True)
    table = pl.DataFrame({"subject_id": subjects, "split": splits})
    table.write_parquet(index.root / "metadata/subject_splits.parquet")


def test_the_cohorts_own_splits_are_taken(tmp_path):
    index = index_of([3, 1, 1, 2], tmp_path)
    write_splits(index, [9, 3, 2, 1], ["train", "tuning", "held_out", "train"])
    assert subject_splits(index, Splits()).tolist() == ["train", "train", "held_out", "tuning"]


@pytest.mark.parametrize(
    ("subjects", "splits", "message"),
    [
        ([1, 2], ["train", "test"], "row 1: column split is none of train, tuning, held_out"),
        ([1, 2], ["train", None], "row 1: column split is none of"),
        ([1, 2, 1], ["train", "train", "held_out"], "row 0 has a subject with another row"),
        ([1], ["train"], "1 subjects with samples have no split"),
        (["1", "2"], ["train", "train"], "column subject_id is String"),
    ],
)
def test_splits_that_break_the_contract_are_refused(tmp_path, subjects, splits, message):
    index = index_of([1, 2], tmp_path)
    write_splits(index, subjects, splits)
    with pytest.raises(DataError, match=message):
        subject_splits(index, Splits())


@pytest.mark.parametrize("kind", [pl.Int32, pl.UInt8, pl.UInt64])
def test_subjects_of_any_whole_type_are_read(tmp_path, kind):
    index = index_of([1, 2], tmp_path)
    write_splits(index, pl.Series([2, 1], dtype=kind), ["tuning", "train"])
    assert subject_splits(index, Splits()).tolist() == ["train", "tuning"]


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_folds_are_read_from_csv_and_parquet(tmp_path, suffix):
    index = index_of([1, 2, 2], tmp_path)
    table = pl.DataFrame({"subject_id": [2, 1, 7], "fold": [4, 0, 1]})
    getattr(table, f"write_{suffix}")(tmp_path / f"folds.{suffix}")
    assert read_folds(Path(f"folds.{suffix}"), index).tolist() == [0, 4, 4]
    with pytest.raises(DataError, match="1 subjects with samples have no fold"):
        read_folds(tmp_path / f"folds.{suffix}", index_of([1, 3]))


def test_files_of_folds_that_cannot_be_used_are_named(tmp_path):
    index = index_of([1, 2], tmp_path)
    (tmp_path / "a.csv").write_text("subject_id,part\n1,0\n")
    with pytest.raises(DataError, match=r"a\.csv: lacks column fold"):
        read_folds(Path("a.csv"), index)
    (tmp_path / "b.parquet").write_text("no table")
    with pytest.raises(DataError, match=r"b\.parquet: cannot be read"):
        read_folds(Path("b.parquet"), index)
    with pytest.raises(DataError, match=r"c\.parquet: is missing"):
        read_folds(Path("c.parquet"), index)


def test_settings_that_leave_nothing_to_train_on_are_refused():
    index = index_of([1, 2])
    with pytest.raises(ConfigError, match="leave nothing to train on"):
        subject_splits(index, Splits(tuning=0.5, held_out=0.5))
    with pytest.raises(ConfigError, match="3 folds for 2 subjects"):
        assign_folds(index, 3, 0)


@given(ids=IDS, shares=st.tuples(st.floats(0, 1), st.floats(0, 1)), seed=st.integers(0, 9))
def test_fewer_training_subjects_are_a_part_of_more(ids, shares, seed):
    index = index_of(ids)
    split = subject_splits(index, Splits(tuning=0.1, held_out=0.2))
    fewer, more = (
        subsample_train(index, split, share, seed, labels_of(index)) for share in sorted(shares)
    )
    train = split == "train"
    assert all(len(parts) == 1 for parts in parts_of(index, fewer))
    np.testing.assert_array_equal(fewer[~train], split[~train])
    assert set(fewer[train].tolist()) <= {"train", ""}
    assert not ((fewer == "train") & (more != "train")).any()
    number = len(np.unique(index.subject_ids[train]))
    kept = len(np.unique(index.subject_ids[fewer == "train"]))
    assert kept == (max(1, round(min(shares) * number)) if number else 0)


def test_fewer_training_subjects_keep_the_balance_of_a_label():
    index = index_of(range(400))
    label = (np.arange(400) % 4 == 0).astype(np.float32)[:, None]
    split = np.full(400, "train")
    for share in (0.1, 0.25, 0.5):
        kept = subsample_train(index, split, share, 0, label) == "train"
        assert abs(label[kept].sum() - 100 * share) <= 1


def test_subjects_are_held_out_by_their_group(tmp_path):
    (tmp_path / "groups.csv").write_text("subject_id,site\n1,north\n2,south\n3,north\n")
    index = index_of([1, 2, 2, 3], tmp_path)
    assert group_folds(index, Path("groups.csv"), "site", ["south"]).tolist() == [0, 1, 1, 0]
    with pytest.raises(DataError, match="1 subjects with samples have no site"):
        group_folds(index_of([1, 9], tmp_path), Path("groups.csv"), "site", ["north"])


@pytest.mark.parametrize("number", [10, 11])
def test_a_mistyped_group_brings_up_no_small_group(tmp_path, number):
    lines = [f"{subject},{'south' if subject < number else 'north'}" for subject in range(30)]
    (tmp_path / "groups.csv").write_text("\n".join(["subject_id,site", *lines]))
    index = index_of(np.repeat(np.arange(30), 3), tmp_path)  # samples do not count
    with pytest.raises(ConfigError, match="no subject is in site 'sooth'") as error:
        group_folds(index, Path("groups.csv"), "site", ["sooth"])
    assert ("did you mean 'south'" in str(error.value)) == (number == 11)
    assert ("south" in str(error.value)) == (number == 11)


def test_linked_subjects_share_a_number_and_cohorts_share_none(tmp_path):
    people = [People(np.array([3, 1, 1, 2]), tmp_path / name) for name in ("a", "b")]
    write_subject_table(tmp_path / "a" / LINKED_FILE, "unit", {1: 9, 3: 9})
    numbers = linked_numbers(people).tolist()
    assert numbers[0] == numbers[1] == numbers[2] != numbers[3]
    assert len(set(numbers[4:])) == 3
    assert not set(numbers[:4]) & set(numbers[4:])
