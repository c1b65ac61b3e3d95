"""Every trainable tensor must move as soon as it can, and no sooner is it asked to."""

import pytest
import torch
from torch import nn
from transformers import AutoConfig, AutoModel

from clintune.core.errors import TrainingError
from clintune.training.movement import MovementCheck

NAMES = [
    "backbone.layer.lora_A.weight",
    "backbone.layer.lora_B.weight",
    "projectors.notes.linear.weight",
    "projectors.wearable.linear.weight",
    "heads.icu.readout.weight",
    "heads.icu.skip.notes.weight",
    "heads.icu.skip.wearable.weight",
    "heads.depression.readout.weight",
]


@pytest.fixture
def check():
    return MovementCheck({name: nn.Parameter(torch.ones(3)) for name in NAMES})


@torch.no_grad()
def move(check, *names):
    for name in names:
        check.parameters[name][0] += 1e-3


def test_parts_without_data_are_waited_for_and_pairs_that_never_meet_are_not_asked(check):
    move(check, NAMES[1], NAMES[2], NAMES[4], NAMES[5])
    check.after_step(1, {("notes", "icu")})
    move(check, NAMES[0], NAMES[3], NAMES[7])
    check.after_step(2, {("wearable", "depression")})
    assert set(check.still) == {"heads.icu.skip.wearable.weight"}
    for step in range(3, 9):
        check.after_step(step, {("notes", "icu"), ("wearable", "depression")})
    with pytest.raises(TrainingError, match=r"step 9: 1 of 8 .* heads\.icu\.skip\.wearable\.weight;"):
        check.after_step(9, {("wearable", "icu")})


def test_lora_a_has_two_steps_because_b_starts_at_zero(check):
    move(check, *NAMES[1:])
    check.after_step(1, {("notes", "icu")})
    with pytest.raises(TrainingError, match=r"step 2: 1 of 8 .* backbone\.layer\.lora_A\.weight;"):
        check.after_step(2, {("notes", "icu")})


def test_a_step_without_labels_asks_nothing(check):
    check.after_step(1, set())
    assert set(check.still) == set(NAMES)


def test_a_bias_of_keys_may_stay_since_its_gradient_is_rounding():
    shape = {
        "hidden_size": 8,
        "num_attention_heads": 2,
        "intermediate_size": 8,
        "num_hidden_layers": 1,
        "initializer_range": 0.5,
    }
    torch.manual_seed(0)
    layer = AutoModel.from_config(AutoConfig.for_model("bert", vocab_size=8, **shape)).encoder.layer[0].eval()
    (layer(torch.randn(2, 5, 8)) * torch.randn(2, 5, 8)).sum().backward()
    size = {name: float(weight.grad.abs().max()) for name, weight in layer.named_parameters()}
    stuck = {name for name in size if size[name] < 1e-4 * max(size.values())}
    assert stuck == {"attention.self.key.bias"}
    check = MovementCheck(dict(layer.named_parameters()))
    with torch.no_grad():
        for name in size.keys() - stuck:
            check.parameters[name].view(-1)[0] += 1e-3
    check.after_step(1, {("notes", "icu")})
