"""Ablations: which variants there are, and that each is compared with the whole model."""

import numpy as np
import pytest

from clintune.evaluation.analyses.ablations import ablate, variants
from clintune.evaluation.context import WHOLE
from clintune.tasks.binary import Binary
from helpers.made_up_predictions import predictions_of

TASK = Binary(label="x")


@pytest.mark.parametrize(
    ("modalities", "names"),
    [
        ("a", [WHOLE]),
        ("ab", [WHOLE, "only a", "only b"]),
        ("cab", [WHOLE, "only a", "only b", "only c", "without a", "without b", "without c"]),
    ],
)
def test_variants_name_what_is_kept(modalities, names):
    result = variants(modalities)
    assert list(result) == names
    assert len(set(result.values())) == len(names)
    assert all(result[f"only {m}"] == {m} for m in modalities if f"only {m}" in result)
    assert all(
        result[f"without {m}"] == set(modalities) - {m}
        for m in modalities
        if f"without {m}" in result
    )


def test_a_modality_with_the_signal_is_missed_an_idle_one_not():
    rng = np.random.default_rng(0)
    targets = (np.arange(200) % 2).astype(np.float32)[:, None]
    signal = {
        "image": targets + rng.normal(size=(200, 1)),
        "note": targets + rng.normal(size=(200, 1)),
        "idle": 0,
    }

    def predict(kept):
        logits = sum((signal[name] for name in sorted(kept)), np.zeros((200, 1)))
        return {"x": predictions_of(targets, 1 / (1 + np.exp(-logits)))}

    predicted = {name: predict(kept) for name, kept in variants(signal).items()}
    result = ablate(predicted, {"x": TASK}, replicates=200)
    change = {name: found["differences"]["x"]["auroc"] for name, found in result.items()}
    score = {name: found["scores"]["x"]["auroc"]["value"] for name, found in result.items()}
    assert (change[WHOLE]["value"], change["without idle"]["value"]) == (0, 0)
    assert change["without image"]["high"] < 0
    assert change["without note"]["high"] < 0
    assert score["only idle"] == 0.5
    for name in result:
        assert change[name]["value"] == pytest.approx(score[name] - score[WHOLE])
