"""The promises of clintune, each in a test that fails when it is broken. Number 7 stands in test_cli.py."""

import json
import random
import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from clintune.cli import main
from clintune.config.compose import load_config
from clintune.evaluation.predict import predict_member
from clintune.package import load_package
from clintune.training.checkpoint import last_step
from clintune.training.prepare import fill_caches
from clintune.training.workspace import open_workspace
from conftest import RECIPE, plant, run_python, train

KINDS = ("notes", "imaging", "wearable", "static")
AGED = "modalities.static.codes=[AGE]"
WEIGHTS = ("parts.safetensors", "adapter_model.safetensors")


def evaluate(run, *words):
    assert main(["evaluate", str(run), "--bootstrap", "10", "--no-ablations", *words]) == 0


def predictions(run):
    """Return the risk of every sample by the run's package on the data as they are now."""
    workspace = open_workspace(load_config(run / "recipe.yaml"))
    package, rows = load_package(run / "package"), np.arange(len(workspace.samples))
    encoders = package.model.encoders
    caches = fill_caches(
        encoders,
        package.statistics,
        workspace.samples,
        rows,
        workspace.cache,
        device="cpu",
        max_bad_fraction=0,
        report=run / "unreadable.csv",
    )
    everything = {"all": frozenset(encoders)}
    settings = {"batch_size": 8, "device": torch.device("cpu")}
    return predict_member(package, caches, workspace.samples, rows, everything, **settings)["all"]["outcome"]


def weights(run):
    """Return the bytes of the package's tensors, and of the last step's, which may not be the best one."""
    last = sorted((run / "checkpoints").glob("step-*"))[-1]
    return [path.read_bytes() for path in [*(run / "package" / name for name in WEIGHTS), *sorted(last.iterdir())]]


# ---- 1. nothing from after the prediction time, nobody in two splits -----------------------------------------------


def test_an_item_a_second_after_the_prediction_time_changes_neither_predictions_nor_training(recipe, cohort):
    run = train(recipe(cohort), AGED)
    before = predictions(run)
    plant(cohort, 1, *KINDS)
    assert np.array_equal(predictions(run), before)
    assert weights(train(recipe(cohort), AGED)) == weights(run)


@pytest.mark.parametrize("seconds", [0, -1])
@pytest.mark.parametrize("kind", KINDS)
def test_an_item_known_by_the_prediction_time_does_change_predictions(recipe, cohort, kind, seconds):
    run = train(recipe(cohort), AGED)
    before = predictions(run)
    plant(cohort, seconds, kind)
    assert (predictions(run) != before).mean() > 0.9


@pytest.mark.parametrize("overrides", [[], ["cv=3", "cv_repeats=2", "trainer.max_steps=1", "trainer.metric=loss"]])
def test_no_subject_is_in_two_splits(recipe, cohort, overrides):
    if overrides:
        (cohort / "metadata" / "subject_splits.parquet").unlink()
    labels = cohort / "labels" / "deterioration.parquet"
    table = pl.read_parquet(labels)
    again = table.with_columns(pl.col("prediction_time").dt.offset_by("3d"))
    pl.concat([table, again]).write_parquet(labels)
    run = train(recipe(cohort), *overrides)
    files = sorted(run.rglob("splits.parquet"))
    assert len(files) == (6 if overrides else 1)
    for file in files:
        splits = pl.read_parquet(file)
        assert splits["subject_id"].is_unique().all()
        assert set(splits["split"]) == {"train", "tuning", "held_out"}


# ---- 2 and 5. the same again, also after a kill; files whole or absent ---------------------------------------------

MORTAL = """
import os, signal, sys
limit, log = int(sys.argv[1]), []
def mortal(name, function):
    def call(*args, **kwargs):
        log.append(f"{name} {os.path.basename(str(args[-1]))}" if name == "replace" else name)
        if len(log) == limit:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*args, **kwargs)
    return call
import torch
torch.optim.AdamW.step = mortal("step", torch.optim.AdamW.step)
os.fsync, os.replace = mortal("fsync", os.fsync), mortal("replace", os.replace)
from clintune.cli import main
code = main(sys.argv[2:])
print(*log, sep=",", file=sys.stderr)
sys.exit(code)
"""


def test_a_recipe_trained_twice_gives_the_same_numbers_and_another_seed_gives_others(recipe):
    first, second, other = (train(recipe(), f"seed={seed}") for seed in (0, 0, 1))
    assert weights(first) == weights(second)
    assert (first / "history.jsonl").read_text() == (second / "history.jsonl").read_text()
    assert weights(first)[0] != weights(other)[0]


@pytest.fixture(scope="module")
def never_killed(quickstart, tmp_path_factory):
    """Return a function (limit, folder) -> process, the run folder of one never killed, and all that can kill it."""

    def start(limit, folder):
        path = folder / "recipe.yaml"
        text = RECIPE.replace("ROOT", str(quickstart)).replace("CACHE", str(folder / "cache"))
        path.write_text(text.replace("RUNS", str(folder / "runs")))
        return path, run_python("-c", MORTAL, str(limit), "train", str(path))

    _, done = start(0, tmp_path_factory.mktemp("whole"))
    assert done.returncode == 0, done.stderr
    moments = done.stderr.splitlines()[-1].split(",")
    return start, Path(done.stdout.splitlines()[-1]), moments


def kill_points():
    """Yield places in the list of moments, as fractions drawn once for all."""
    draw = random.Random(20)
    for number in range(10):
        yield pytest.param(draw.random(), id=f"kill{number}", marks=[pytest.mark.slow] if number >= 2 else [])


@pytest.mark.parametrize("place", list(kill_points()))
def test_a_run_that_is_killed_and_resumed_gives_the_numbers_of_one_never_killed(never_killed, tmp_path, place):
    start, whole, moments = never_killed
    recipe, done = start(1 + int(place * len(moments)), tmp_path)
    assert done.returncode == -9, done.stderr
    started = sorted((tmp_path / "runs").glob("*/*/recipe.yaml"))
    words = ["--resume", str(started[0].parent)] if started else [str(recipe)]
    assert main(["train", *words]) == 0
    run = next(iter((tmp_path / "runs").glob("*/*/history.jsonl"))).parent
    assert weights(run) == weights(whole)
    assert (run / "history.jsonl").read_text() == (whole / "history.jsonl").read_text()
    evaluate(run)


def test_a_kill_while_a_checkpoint_replaces_another_leaves_one_to_go_on_from(never_killed, tmp_path):
    start, whole, moments = never_killed
    last = moments.index("replace MANIFEST.json") - 1
    while not moments[last].startswith("replace"):
        last -= 1
    _, done = start(1 + last, tmp_path)
    assert done.returncode == -9, done.stderr
    (run,) = (tmp_path / "runs" / "recipe").iterdir()
    assert last_step(run / "checkpoints") == 4
    assert main(["train", "--resume", str(run)]) == 0
    assert weights(run) == weights(whole)
    assert (run / "history.jsonl").read_text() == (whole / "history.jsonl").read_text()


# ---- 3. a run is described by its folder ---------------------------------------------------------------------------


def test_a_run_folder_that_moved_is_evaluated_from_elsewhere_without_its_recipe(recipe, cohort, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = recipe(Path("cohort"))
    run = train(path, "runs=here")
    evaluate(run)
    metrics = json.loads((run / "metrics.json").read_text())
    path.unlink()
    shutil.move(run, tmp_path / "moved")
    (tmp_path / "moved" / "metrics.json").unlink()
    monkeypatch.chdir(Path("/"))
    evaluate(tmp_path / "moved")
    assert json.loads((tmp_path / "moved" / "metrics.json").read_text()) == metrics


# ---- 4. bad input --------------------------------------------------------------------------------------------------

LABELS, SPLITS, SHARD = "labels/deterioration.parquet", "metadata/subject_splits.parquet", "data/0.parquet"


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


BAD = {
    "corrupt image": (spoil("image_path"), [SHARD, "row "]),
    "empty image": (spoil("image_path", b""), [SHARD, "row "]),
    "missing image": (spoil("image_path", None), [SHARD, "row "]),
    "corrupt signal": (spoil("waveform_path"), [SHARD, "row "]),
    "missing signal": (spoil("waveform_path", None), [SHARD, "row "]),
    "unreadable shard": (garbage(SHARD), [SHARD, "Parquet"]),
    "unreadable labels": (garbage(LABELS), [LABELS, "Parquet"]),
    "unreadable splits": (garbage(SPLITS), [SPLITS, "table"]),
    "no shard": (lambda root: shutil.rmtree(root / "data"), ["data", "no Parquet file"]),
    "data without code": (change(SHARD, lambda t: t.drop("code")), [SHARD, "column code"]),
    "data with a null code": (
        change(SHARD, lambda t: t.with_columns(code=pl.when(pl.int_range(pl.len()) != 5).then("code"))),
        [SHARD, "row 5", "column code"],
    ),
    "time as text": (change(SHARD, lambda t: t.with_columns(text("time"))), [SHARD, "column time"]),
    "subject as text": (change(SHARD, lambda t: t.with_columns(text("subject_id"))), [SHARD, "column subject_id"]),
    "subject in two shards": (copy_subject, [SHARD, "data/1.parquet"]),
    "media outside": (
        change(SHARD, lambda t: t.with_columns(image_path=pl.lit("../SECRET.png"))),
        [SHARD, "row 0", "column image_path"],
    ),
    "media column not declared": (
        lambda root: (root / "metadata/dataset.json").write_text("{}"),
        [SHARD, "media column", "metadata/dataset.json"],
    ),
    "dataset.json": (garbage("metadata/dataset.json"), ["metadata/dataset.json"]),
    "numbers as labels": (
        change(LABELS, lambda t: t.with_columns(pl.col("boolean_value").cast(pl.Int64))),
        [LABELS, "column boolean_value"],
    ),
    "labels without time": (change(LABELS, lambda t: t.drop("prediction_time")), [LABELS, "column prediction_time"]),
    "label times as text": (
        change(LABELS, lambda t: t.with_columns(text("prediction_time"))),
        [LABELS, "column prediction_time"],
    ),
    "label times as days": (
        change(LABELS, lambda t: t.with_columns(pl.col("prediction_time").dt.date())),
        [LABELS, "column prediction_time"],
    ),
    "null label time": (
        change(
            LABELS,
            lambda t: t.with_columns(prediction_time=pl.when(pl.int_range(pl.len()) != 3).then("prediction_time")),
        ),
        [LABELS, "row 3", "column prediction_time"],
    ),
    "label subjects as text": (
        change(LABELS, lambda t: t.with_columns(text("subject_id"))),
        [LABELS, "column subject_id"],
    ),
    "label twice": (change(LABELS, lambda t: pl.concat([t, t.head(1)])), [LABELS, "row 0"]),
    "label of a stranger": (
        change(LABELS, lambda t: pl.concat([t, t.head(1).with_columns(subject_id=pl.lit(99, pl.Int64))])),
        ["1 subject labelled", "data/"],
    ),
    "no label file": (lambda root: (root / LABELS).unlink(), ["label file"]),
    "unknown labels": (
        change(LABELS, lambda t: t.with_columns(boolean_value=pl.lit(None, pl.Boolean))),
        ["tasks.outcome", "labels/deterioration"],
    ),
    "unknown split": (
        change(SPLITS, lambda t: t.with_columns(split=pl.col("split").replace("tuning", "validation"))),
        [SPLITS, "row 24", "column split"],
    ),
    "subject in two splits": (
        change(SPLITS, lambda t: pl.concat([t, t.head(1).with_columns(split=pl.lit("held_out"))])),
        [SPLITS, "row 0"],
    ),
    "subject in no split": (change(SPLITS, lambda t: t.tail(39)), [SPLITS, "1 subject"]),
    "splits without split": (change(SPLITS, lambda t: t.drop("split")), [SPLITS, "column split"]),
    "nothing to train on": (
        change(SPLITS, lambda t: t.with_columns(split=pl.lit("held_out"))),
        ["training split"],
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_gets_one_line_that_says_where(recipe, cohort, capsys, case):
    spoil_it, fragments = BAD[case]
    spoil_it(cohort)
    code = main(["train", str(recipe(cohort)), "trainer.max_steps=1"])
    printed = capsys.readouterr().err
    lines = [line for line in printed.splitlines() if line.startswith("clintune: ")]
    assert len(lines) == 1, printed
    assert printed.rstrip().endswith(lines[0]), "the error is more than one line, or not the last"
    assert code == 2, printed
    assert all(fragment in lines[0] for fragment in fragments), lines[0]
    assert "Traceback" not in printed
    assert "SECRET" not in printed


def test_a_cohort_that_is_not_there_gets_one_line(recipe, tmp_path, capsys):
    assert main(["train", str(recipe(tmp_path / "nowhere"))]) == 2
    assert "cohorts.tiny.root" in capsys.readouterr().err


def test_few_unreadable_items_are_counted_and_listed_and_many_stop_the_run(recipe, cohort, capsys):
    spoil("image_path", number=2)(cohort)
    spoil("waveform_path")(cohort)
    assert main(["train", str(recipe(cohort)), "data.max_bad_fraction=0.01"]) == 2
    assert "2 of " in capsys.readouterr().err, "items of like content count each"
    run = train(recipe(cohort), "data.max_bad_fraction=0.1")
    assert "3 unreadable items" in capsys.readouterr().err
    listed = pl.read_csv(run / "unreadable.csv")
    assert sorted(listed["modality"]) == ["imaging", "imaging", "wearable"]
    assert listed["row"].str.contains(r"^data/\d\.parquet: row \d+$").all()
    evaluate(run)
    assert pl.read_csv(run / "unreadable.csv").equals(listed), "evaluation forgets what training listed"


# ---- 6. no patient in what leaves the run --------------------------------------------------------------------------


def test_text_and_identifiers_of_patients_appear_in_tables_of_predictions_and_splits_only(recipe, cohort, capsys):
    plant(cohort, -1, *KINDS)
    base = 7_310_000_000
    for path in [*(cohort / "data").iterdir(), cohort / LABELS, cohort / SPLITS]:
        table = pl.read_parquet(path).with_columns(pl.col("subject_id") + base)
        if "text_value" in table.columns:
            table = table.with_columns(text_value=pl.lit("Mrs Canarybird. ") + pl.col("text_value"))
            table = table.with_columns(image_path=pl.col("image_path").str.replace("images/", "images/canarybird"))
        table.write_parquet(path)
    for image in (cohort / "images").iterdir():
        image.rename(image.with_name(f"canarybird{image.name}"))
    spoil("image_path")(cohort)
    run = train(recipe(cohort), "data.max_bad_fraction=0.5")
    assert main(["evaluate", str(run), "--bootstrap", "10"]) == 0
    printed = capsys.readouterr()
    files = [path for path in run.rglob("*") if path.is_file()]
    open_to_all = {path for path in files if path.suffix != ".parquet"}
    assert {path.name for path in open_to_all} >= {"report.html", "metrics.json", "history.jsonl", "unreadable.csv"}
    assert {path.name for path in set(files) - open_to_all} == {"splits.parquet", "outcome.parquet"}
    for where, content in [("stdout", printed.out), ("stderr", printed.err)] + [
        (path.name, path.read_bytes().decode("latin-1")) for path in open_to_all
    ]:
        assert "canarybird" not in content.lower(), where
        assert str(base)[:6] not in content, where


def test_the_report_hides_small_counts(recipe, cohort):
    run = train(recipe(cohort), "trainer.max_steps=1")
    evaluate(run)
    held_out = json.loads((run / "metrics.json").read_text())["held_out"]["outcome"]["auroc"]
    assert held_out["n_subjects"] < 11
    report = (run / "report.html").read_text()
    assert "&lt;11" in report
    assert f"{held_out['n_subjects']} subjects" not in report
