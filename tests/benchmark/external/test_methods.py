"""Peers: a stand-in in another process gets the rows that it may read; nobody else sees them."""

import contextlib
import json
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import psutil
import pytest
import timm
import torch
from PIL import Image
from sklearn.linear_model import LogisticRegression

from clintune.benchmark.external.images import ImageFiles
from clintune.benchmark.external.methods import predict_peer
from clintune.benchmark.external.weights import image_model
from clintune.benchmark.suite import read_suite
from clintune.benchmark.trials import plan
from clintune.cli import main
from clintune.config.compose import compose_recipe
from clintune.contracts import Item
from clintune.core.errors import ConfigError, TrainingError
from clintune.experiment.folds import folds, split_of
from clintune.experiment.open import open_experiment
from clintune.modalities.imaging import Imaging
from helpers.peer_stand_in import stand_in
from helpers.rows_by_hand import all_rows, facts_of

LOGISTIC = """
import os, shutil
from pathlib import Path
import numpy as np, pandas as pd
from sklearn.linear_model import LogisticRegression

def fit(train, tuning, settings):
    kept = Path(SEEN) / str(len(list(Path(SEEN).iterdir())))
    rows = pd.read_parquet(Path.cwd().parent / "rows.parquet")
    rows["real"] = [
        os.path.realpath(one) if isinstance(one, str) else None for one in rows["image"]
    ]
    kept.mkdir()
    rows.to_parquet(kept / "rows.parquet")
    (kept / "folder").symlink_to(Path.cwd().parent)
    shutil.copy2(Path.cwd().parent / "settings.json", kept)
    numbers = [name for name in train if name.startswith("static_")]
    known = pd.concat([train, tuning])
    model = LogisticRegression().fit(np.nan_to_num(known[numbers]), known["label"])
    predict = lambda rows: model.predict_proba(np.nan_to_num(rows[numbers]))[:, 1]
    return predict, model.coef_.size + 1
"""
FAILING = """
def fit(train, tuning, settings):
    print(train["text"].iloc[0])
    raise KeyError(train["text"].iloc[0])
"""
WAITING = """
import os, threading
from pathlib import Path

def fit(train, tuning, settings):
    (Path(SEEN) / "partial").write_text(f"{os.getpid()} {Path.cwd().parent}")
    (Path(SEEN) / "partial").rename(Path(SEEN) / "begun")
    threading.Event().wait()
"""


@pytest.fixture
def seen(tmp_path):
    """Return a folder in which stand-ins leave what they were given."""
    folder = tmp_path / "seen"
    folder.mkdir()
    return folder


@pytest.fixture
def install(tmp_path, seen, monkeypatch):
    """Return a function that makes a peer's environment, whose Python runs another script."""
    monkeypatch.setenv("CLINTUNE_PEERS", str(tmp_path / "peers"))
    return lambda name, script: stand_in(tmp_path, name, f"SEEN = {str(seen)!r}\n{script}")


def composed(recipe, *overrides, extra=""):
    return compose_recipe(recipe(extra=extra), ["modalities.static.codes=[AGE]", *overrides])


def exported(seen):
    return [pl.read_parquet(folder / "rows.parquet") for folder in sorted(seen.iterdir())]


def test_a_peer_fits_what_one_would_fit_by_hand_on_the_samples(recipe, quickstart, install, seen):
    install("autogluon", LOGISTIC)
    config = composed(recipe, "modalities.static.min_subjects=1", extra="cv: 2\n")
    outcome = predict_peer(config, "autogluon", [0.0], 60.0)
    found = outcome.predictions[0.0]["outcome"]

    samples = open_experiment(config).samples
    rows = all_rows(quickstart)
    codes = sorted(code for code in rows["code"].unique() if code.startswith("SEX//"))
    table = facts_of(rows, samples.subject_id.tolist(), codes)
    targets = samples.targets("outcome")[:, 0]
    for fold in folds(config, Path(), samples):
        split = split_of(config, samples, fold)
        test = found.fold == fold.number
        trained = table[split == "train", 0]
        design = np.c_[(table[:, 0] - trained.mean()) / trained.std(), table[:, 1:]]
        learnt = np.isin(split, ["train", "tuning"])
        expected = (
            LogisticRegression()
            .fit(design[learnt], targets[learnt])
            .predict_proba(design[split == "held_out"])
        )
        np.testing.assert_array_equal(
            found.subject_id[test], samples.subject_id[split == "held_out"]
        )
        np.testing.assert_array_equal(found.targets[test, 0], targets[split == "held_out"])
        np.testing.assert_allclose(found.predicted[test, 0], expected[:, 1], atol=1e-4)
    assert outcome.parameters == 1 + len(codes) + 1
    assert outcome.fit_seconds > 0
    settings = json.loads((next(seen.iterdir()) / "settings.json").read_text())
    assert settings == {"seed": 0, "seconds": 60.0, "text_model": None, "image_model": None}


def test_rows_hold_what_a_sample_sees_and_no_held_out_label(recipe, quickstart, install, seen):
    install("autogluon", LOGISTIC)
    config = composed(recipe)
    outcome = predict_peer(config, "autogluon", [0.0, 0.9], 60.0)
    (rows,) = exported(seen)
    held_out = rows.filter(split="held_out")
    assert held_out["label"].null_count() == len(held_out)
    assert rows.filter(pl.col("split") != "held_out")["label"].null_count() == 0
    assert set(rows["split"]) == {"train", "tuning", "held_out"}

    samples = open_experiment(config).samples
    fold = folds(config, Path(), samples)[0]
    place = np.flatnonzero(split_of(config, samples, fold) == "held_out")
    whole, thin = held_out.head(len(place)), held_out.tail(len(place))
    assert len(held_out) == 2 * len(place)
    np.testing.assert_array_equal(
        outcome.predictions[0.9]["outcome"].subject_id, samples.subject_id[place]
    )
    known = all_rows(quickstart).sort("time", maintain_order=True)
    for row, text, image in zip(place.tolist(), whole["text"], whole["real"], strict=True):
        subject, moment = samples.subject_id[row], samples.prediction_time[row]
        before = known.filter((pl.col("subject_id") == subject) & (pl.col("time") <= moment))
        assert text == ("\n".join(before["text_value"].drop_nulls()) or None)
        newest = before["image_path"].drop_nulls().to_list()[-1:]
        assert image == (os.path.realpath(quickstart / newest[0]) if newest else None)
    numbers = [name for name in rows.columns if name.startswith("static_")]
    assert numbers
    for name in ("text", "image", *numbers):
        assert thin[name].null_count() > len(place) / 2 > whole[name].null_count()


def test_rows_have_no_text_where_the_recipe_has_no_notes(recipe, install, seen):
    install("pyhealth", LOGISTIC)
    predict_peer(composed(recipe, "~modalities.notes"), "pyhealth", [0.0], 60.0)
    assert "text" not in exported(seen)[0].columns


def test_nobody_else_can_read_the_folder_and_nothing_of_it_stays(
    recipe, install, seen, tmp_path, monkeypatch
):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    install(
        "autogluon",
        LOGISTIC.replace("kept.mkdir()", "kept.mkdir(mode=os.stat(Path.cwd().parent).st_mode)"),
    )
    predict_peer(composed(recipe), "autogluon", [0.0], 60.0)
    (kept,) = seen.iterdir()
    assert stat.S_IMODE(kept.stat().st_mode) == 0o700
    folder = (kept / "folder").readlink()
    assert folder.parent == tmp_path
    assert not folder.exists()


def test_a_peer_that_fails_is_told_in_a_line_without_text(
    recipe, install, tmp_path, monkeypatch, capfd
):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.delenv("CLINTUNE_DEBUG", raising=False)
    install("autogluon", FAILING)
    with pytest.raises(TrainingError) as failed:
        predict_peer(composed(recipe), "autogluon", [0.0], 60.0)
    line = str(failed.value)
    assert line.startswith("autogluon ended with code 1 (KeyError); what it said is withheld")
    assert "\n" not in line
    assert not any(capfd.readouterr())
    assert not list(tmp_path.glob("clintune-peer-*"))


def test_a_peer_that_reads_nothing_of_a_recipe_says_so(recipe, install):
    install("autogluon", "def fit(train, tuning, settings):\n    return None")
    with pytest.raises(ConfigError, match="autogluon reads none of what this recipe has"):
        predict_peer(composed(recipe), "autogluon", [0.0], 60.0)


def test_one_answer_alone_is_given_to_everyone(recipe, cohort, install):
    install("autogluon", FAILING)
    labels = cohort / "labels" / "deterioration.parquet"
    pl.read_parquet(labels).with_columns(boolean_value=pl.lit(True)).write_parquet(labels)
    outcome = predict_peer(compose_recipe(recipe(cohort)), "autogluon", [0.0], 60.0)
    assert (outcome.predictions[0.0]["outcome"].predicted == 1).all()


def test_other_questions_than_yes_or_no_are_refused(recipe, cohort, install):
    install("autogluon", FAILING)
    labels = cohort / "labels" / "deterioration.parquet"
    words = pl.when("boolean_value").then(pl.lit("worse")).otherwise(pl.lit("same"))
    pl.read_parquet(labels).select(
        "subject_id", "prediction_time", categorical_value=words
    ).write_parquet(labels)
    path = recipe(cohort)
    path.write_text(
        path.read_text().replace("task@tasks.outcome: binary", "task@tasks.outcome: multiclass")
    )
    with pytest.raises(ConfigError, match="peers answer yes-or-no questions only"):
        predict_peer(compose_recipe(path), "autogluon", [0.0], 60.0)


@pytest.mark.parametrize(
    "how", [pytest.param(signal.SIGTERM, marks=pytest.mark.slow), signal.SIGKILL]
)
def test_a_peer_ends_with_its_trial_and_leaves_no_folder(recipe, install, seen, how):
    install("autogluon", WAITING)
    code = (
        "import sys; from pathlib import Path; "
        "from clintune.benchmark.external.methods import predict_peer\n"
        "from clintune.config.compose import compose_recipe\n"
        "predict_peer(compose_recipe(Path(sys.argv[1])), 'autogluon', [0.0], 60.0)"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3] / "src")}
    trial = subprocess.Popen(
        [sys.executable, "-c", code, recipe()], env=environment, stderr=subprocess.DEVNULL
    )
    while not (seen / "begun").exists():
        with contextlib.suppress(subprocess.TimeoutExpired):
            assert trial.wait(0.05) is None
    pid, folder = (seen / "begun").read_text().split()
    peer = psutil.Process(int(pid))
    assert (Path(folder) / "rows.parquet").exists()

    trial.send_signal(how)
    trial.wait()
    with contextlib.suppress(psutil.NoSuchProcess):
        peer.wait(60)
    assert not Path(folder).exists()


def test_a_peer_that_is_named_must_be_installed(recipe, install, tmp_path, capfd):
    suite = tmp_path / "suite.yaml"
    suite.write_text(f"experiments: {{tiny: {{recipe: {recipe()}, baselines: [pyhealth]}}}}")
    assert main(["benchmark", str(suite), f"out={tmp_path / 'out'}", "methods=[pyhealth]"]) == 2
    assert (
        capfd.readouterr().err
        == "clintune: pyhealth: not installed; run scripts/peers/venv pyhealth\n"
    )


def test_the_time_limit_belongs_to_a_peers_cell_alone(tmp_path):
    path = tmp_path / "suite.yaml"
    path.write_text(
        "experiments: {a: {recipe: quickstart, baselines: [logistic, autogluon]}}\n"
        "clintune: {lora: []}"
    )

    def keys(*words):
        return {
            trial.method: trial.key("data")
            for trial in plan(read_suite(path, ["seeds=[0]", *words]), [])
        }

    plain, limited = keys(), keys("peer_seconds=5")
    assert plain == keys("peer_seconds=300")
    assert {method for method, key in plain.items() if limited[method] != key} == {"autogluon"}
    for words, message in (
        ("peer_seconds=0", "'peer_seconds' is 0"),
        ("peer_seconds=soon", "peer_seconds"),
    ):
        with pytest.raises(ConfigError, match=message):
            keys(words)


def test_images_are_given_as_files_that_every_library_reads(tmp_path):
    ramp = np.linspace(0, 65535, 64, dtype=np.uint16).reshape(8, 8)
    deep, plain = tmp_path / "deep.png", tmp_path / "a;b.jpg"
    Image.fromarray(ramp).save(deep)
    Image.fromarray((ramp >> 8).astype(np.uint8)).save(plain)
    folder = tmp_path / "images"
    folder.mkdir()
    files = ImageFiles(folder)
    written, linked = (
        files.path(Item(hours=0.0, code="CXR", where="row 1", path=path)) for path in (deep, plain)
    )
    with Image.open(written) as image:
        np.testing.assert_allclose(np.asarray(image.convert("L")), ramp / 257, atol=1)
    assert linked.resolve() == plain.resolve()
    assert ";" not in str(linked)


def test_the_image_weights_are_those_that_timm_loads(tmp_path):
    imaging = Imaging(source="bundled:efficientnet_lite0")
    imaging.build({})
    folder = image_model({"imaging": imaging}, tmp_path / "model")
    config = json.loads((tmp_path / "model" / "config.json").read_text())
    model = timm.create_model(
        config["architecture"], num_classes=0, checkpoint_path=f"{folder}/pytorch_model.bin"
    )
    pixels = torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(
            model.eval()(pixels), imaging.encoder(pixels)[0], rtol=1e-3, atol=1e-3
        )
    assert config["num_features"] == imaging.width
