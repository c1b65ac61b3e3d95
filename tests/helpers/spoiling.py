"""Ways to break the files of a cohort."""

import polars as pl

LABELS, SPLITS, SHARD = (
    "labels/deterioration.parquet",
    "metadata/subject_splits.parquet",
    "data/0.parquet",
)

LINKED = "metadata/linked_subjects.parquet"


def change(name, function):
    def apply(root):
        function(pl.read_parquet(root / name)).write_parquet(root / name)

    return apply


def garbage(name):
    return lambda root: (root / name).write_bytes(b"SECRET garbage" * 100)


def media(root, column, number=1):
    """Return the paths of the first media files that samples see."""
    moments = pl.read_parquet(root / LABELS)
    rows = pl.concat(pl.read_parquet(path) for path in sorted((root / "data").iterdir()))
    seen = rows.join(moments, on="subject_id").filter(
        pl.col(column).is_not_null() & (pl.col("time") <= pl.col("prediction_time"))
    )
    return [root / path for path in seen[column][:number]]


def spoil(column, content=b"SECRET garbage" * 100, number=1):
    def apply(root):
        for path in media(root, column, number):
            path.write_bytes(content) if content is not None else path.unlink()

    return apply


def copy_subject(root):
    other = pl.read_parquet(root / "data" / "1.parquet")
    change(SHARD, lambda t: pl.concat([t, other.head(1)]))(root)


def text(column):
    return pl.col(column).cast(pl.String)
