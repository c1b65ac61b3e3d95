"""A run computes in one precision: caching, training, tuning, evaluation."""

import json
import platform
from pathlib import Path

import numpy as np
import pytest
import torch

from clintune.config.compose import compose_recipe, load_config
from clintune.core.files import file_sha256
from clintune.experiment.fold_data import prepare_fold
from clintune.experiment.folds import folds
from clintune.experiment.open import open_experiment
from clintune.features.batching import Batches, sequential_batches
from clintune.layers.precision import has_bf16, resolve_precision
from clintune.model.build import build_model, make_modalities
from clintune.training.sharding import spare_casts
from conftest import evaluate, train

BF16 = "trainer.precision=bf16"


@pytest.mark.parametrize("computed", ["fp32", "bf16"])
def test_evaluation_finds_the_scores_that_tuning_found(recipe, computed):
    run = train(
        recipe(),
        f"trainer.precision={computed}",
        "trainer.tune_every=6",
        "modalities.notes.mode=lora",
    )
    tuned = json.loads((run / "history.jsonl").read_text().splitlines()[-1])
    evaluate(run)
    found = json.loads((run / "metrics.json").read_text())["tuning"]["outcome"]
    for metric in ("brier", "auroc"):
        assert found[metric]["value"] == pytest.approx(tuned[f"tuning/outcome/{metric}"], abs=1e-7)


@pytest.mark.parametrize("has", [True, False])
def test_auto_is_settled_when_training_begins_and_kept(recipe, monkeypatch, has):
    monkeypatch.setattr("clintune.layers.precision.has_bf16", lambda: has)
    run = train(recipe(), "trainer.precision=auto", "trainer.max_steps=1")
    kept = load_config(run / "recipe.yaml")
    monkeypatch.setattr("clintune.layers.precision.has_bf16", lambda: not has)  # another machine
    assert resolve_precision(kept.trainer.precision) == ("bf16" if has else "fp32")


@pytest.mark.skipif(
    platform.machine() != "x86_64" or not Path("/proc/cpuinfo").exists(),
    reason="reads /proc/cpuinfo",
)
@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_a_cpu_has_bf16_where_its_flags_say_so():
    assert has_bf16() == ("avx512_bf16" in Path("/proc/cpuinfo").read_text().split())


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_an_fp16_run_of_a_gpu_is_evaluated_without_one(recipe):
    run = train(recipe(), "trainer.precision=fp32")
    text = (run / "recipe.yaml").read_text()
    assert "precision: fp32" in text
    (run / "recipe.yaml").write_text(text.replace("precision: fp32", "precision: fp16"))
    record = json.loads((run / "provenance.json").read_text())
    record["recipe_sha256"] = file_sha256(run / "recipe.yaml")
    (run / "provenance.json").write_text(json.dumps(record))
    evaluate(run)


def test_casting_once_gives_the_bits_of_casting_each_step(recipe, tmp_path):
    experiment = open_experiment(compose_recipe(recipe(), [BF16, "modalities.notes.mode=lora"]))
    (fold,) = folds(experiment.config, tmp_path, experiment.samples)
    ready = prepare_fold(experiment, fold)
    outcomes = []
    for dtype in (None, torch.bfloat16):
        model = build_model(
            experiment.config,
            make_modalities(experiment.config.modalities),
            ready.statistics,
            {"outcome": 1},
            0,
        )
        spare_casts(model, dtype)
        held = {
            p.dtype for part in (model.backbone, model.encoders["notes"]) for p in part.parameters()
        }
        assert held == {torch.float32} | ({dtype} if dtype else set())
        batch = Batches(experiment.samples, model.encoders, ready.pieces)[
            sequential_batches(np.arange(8), 8)[0]
        ]
        with torch.autocast("cpu", torch.bfloat16):
            logits = model.eval()(batch)["outcome"]
        logits.float().sum().backward()
        outcomes.append([logits, *(p.grad for p in model.parameters() if p.grad is not None)])
    cast, lowered = outcomes

    assert len(cast) == len(lowered) > 10
    assert all(map(torch.equal, cast, lowered))
