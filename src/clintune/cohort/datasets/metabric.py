"""Import METABRIC, the survival of 1,981 people with breast cancer.

The copy is that of DeepHit (Lee et al., 2018). It has filled gaps: a number with more than two
decimals is the mean of a column and counts as absent. 68 people have one and the same row of
features; they are linked. The meaning of the numbered classes of a column is not documented.
"""

from itertools import chain
from pathlib import Path

import polars as pl

from clintune.cohort.datasets.facts import FLOAT, write_folds, write_outcome, write_people
from clintune.cohort.datasets.raw import numbers, only, read_raw
from clintune.cohort.writer import BOOLEAN, write_subject_table
from clintune.core.errors import DataError

_HOME = "https://github.com/chl8856/DeepHit"
_FEATURES = "cleaned_features_final.csv"
_NUMBERS = {
    "age_at_diagnosis": "AGE",
    "size": "TUMOUR_SIZE",
    "lymph_nodes_positive": "LYMPH_NODES_POSITIVE",
    "stage": "STAGE",
    "lymph_nodes_removed": "LYMPH_NODES_REMOVED",
    "NPI": "NPI",
}
_CLASSES = {
    "grade": 3,
    "histological": 12,
    "ER_IHC_status": 2,
    "ER_Expr": 2,
    "PR_Expz": 2,
    "HER2_IHC_status": 4,
    "HER2_SNP6_state": 3,
    "Her2_Expr": 2,
    "Treatment": 8,
    "inf_men_status": 2,
    "group": 5,
    "cellularity": 3,
    "Pam50_Subtype": 6,
    "int_clust_memb": 10,
    "site": 5,
    "Genefu": 4,
}
"""Column -> number of columns of that name, one for each class."""


def import_metabric(root: Path, raw: Path) -> None:
    """Write the cohort to `root` from `cleaned_features_final.csv` and `label.csv` in `raw`.

    Label: survival. Subjects are numbered in the order of the rows, from 1. Raises DataError for a
    file, column or cell that cannot be read, and for files of different lengths.
    """
    path, labels = raw / _FEATURES, raw / "label.csv"
    # The header repeats the name of a column for each of its classes. The reader numbers repeats.
    places = {name: _repeated(name, number) for name, number in _CLASSES.items()}
    table = read_raw(path, [*_NUMBERS, *chain.from_iterable(places.values())], _HOME)
    outcomes = read_raw(labels, ["event_time", "label"], _HOME)
    if len(table) != len(outcomes):
        raise DataError(
            f"{labels}: has {len(outcomes)} rows, {path.name} {len(table)}; take both anew"
        )

    subjects = pl.Series(range(1, len(table) + 1), dtype=pl.Int64)
    facts = {code: _measured(numbers(table[column], path)) for column, code in _NUMBERS.items()}
    facts |= {name.upper(): _class(table.select(columns), path) for name, columns in places.items()}
    write_people(root, "metabric", subjects, facts)

    days = numbers(outcomes["event_time"], labels, needed=True)
    seen = numbers(only(outcomes["label"], ("0", "1"), labels), labels, needed=True)
    write_outcome(root, "survival", subjects, {FLOAT: days, BOOLEAN: seen > 0})
    write_folds(root, subjects, seen)

    sites = dict(zip(subjects, facts["SITE"].fill_null("other"), strict=True))
    write_subject_table(root / "metadata/groups.parquet", "site", sites)


def _measured(values: pl.Series) -> pl.Series:
    """Return a column without the means in its gaps: no value is measured to over two decimals."""
    return pl.select(pl.when((values - values.round(2)).abs() < 1e-9).then(values)).to_series()


def _repeated(name: str, number: int) -> list[str]:
    """Return the reader's names of the columns that have one name."""
    return [name, *(f"{name}_duplicated_{place}" for place in range(number - 1))]


def _class(columns: pl.DataFrame, path: Path) -> pl.Series:
    """Return the class of each row, as the text of its number from 1; null for none.

    `columns` are zeros and ones, one column for each class. Raises DataError for two classes.
    """
    chosen = pl.Series([None] * len(columns), dtype=pl.String)
    for place, column in enumerate(columns.iter_columns(), start=1):
        holds = only(column, ("0", "1"), path) == "1"
        if (twice := holds & chosen.is_not_null()).any():
            row = twice.arg_true()[0]
            raise DataError(
                f"{path}: row {row}: column {columns.columns[0]} has two classes; keep one"
            )
        chosen = pl.select(pl.when(holds).then(pl.lit(str(place))).otherwise(chosen)).to_series()
    return chosen
