"""Every trainable tensor must move as soon as it can, and no sooner is it asked to."""

import pytest
import torch
from torch import nn
from transformers import AutoConfig, AutoModel

from clintune.core.errors import TrainingError
from clintune.training.stuck_parameters import StuckParameterCheck

NAMES = [
    "backbone.layer.lora_A.weight",
    "backbone.layer.lora_B.weight",
    "projectors.notes.linear.weight",
    "projectors.wearable.linear.weight",
    "heads.icu.of_query.weight",
    "heads.icu.of_features.notes.weight",
    "heads.icu.of_features.wearable.weight",
    "heads.depression.of_query.weight",
]


def checked(parameters, **settings):
    """Return a check of these parameters under AdamW."""
    return StuckParameterCheck(
        parameters, torch.optim.AdamW(parameters.values(), **{"lr": 1e-3, **settings})
    )


@pytest.fixture
def check():
    return checked({name: nn.Parameter(torch.ones(3)) for name in NAMES})


def move(check, *names, gradient=1e-3):
    """Take a step in which these have a gradient, others none."""
    for name, parameter in check.parameters.items():
        parameter.grad = torch.full_like(parameter, gradient) if name in names else None
    check.optimizer.step()


def test_parts_without_data_are_waited_for(check):
    move(check, NAMES[1], NAMES[2], NAMES[4], NAMES[5])
    check.after_step(1, {("notes", "icu")})
    move(check, NAMES[0], NAMES[3], NAMES[7])
    check.after_step(2, {("wearable", "depression")})
    assert set(check.still) == {"heads.icu.of_features.wearable.weight"}
    for step in range(3, 9):
        check.after_step(step, {("notes", "icu"), ("wearable", "depression")})
    with pytest.raises(
        TrainingError, match=r"step 9: 1 of 8 .* heads\.icu\.of_features\.wearable\.weight;"
    ):
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
    layer = (
        AutoModel.from_config(AutoConfig.for_model("bert", vocab_size=8, **shape))
        .encoder.layer[0]
        .eval()
    )
    (layer(torch.randn(2, 5, 8)) * torch.randn(2, 5, 8)).sum().backward()
    size = {name: float(weight.grad.abs().max()) for name, weight in layer.named_parameters()}
    stuck = {name for name in size if size[name] < 1e-4 * max(size.values())}
    assert stuck == {"attention.self.key.bias"}

    check = checked(dict(layer.named_parameters()))
    move(check, *(size.keys() - stuck))
    check.after_step(1, {("notes", "icu")})


@pytest.mark.parametrize(
    ("dtype", "lr", "decay"),
    [
        (torch.float32, 1e-4 / 4000, 0.01),
        (torch.float32, 2e-5 / 1000, 0.0),
        (torch.float32, 1e-30, 0.0),
        (torch.bfloat16, 1e-4, 0.0),
    ],
)
def test_a_step_below_the_rounding_of_a_weight_is_no_fault(dtype, lr, decay):
    norm = nn.Parameter(torch.ones(4, dtype=dtype))
    check = checked({"backbone.norm.weight": norm}, lr=lr, weight_decay=decay)
    move(check, "backbone.norm.weight")
    assert torch.equal(norm.detach(), torch.ones(4, dtype=dtype))
    check.after_step(1, {("notes", "icu")})
    assert not check.still


def test_a_tensor_that_weight_decay_alone_moves_does_not_learn():
    parameter = nn.Parameter(torch.ones(2, 2))
    check = checked({"backbone.layer.weight": parameter}, lr=0.1, weight_decay=0.5)
    move(check, "backbone.layer.weight", gradient=0.0)
    assert not torch.equal(parameter.detach(), torch.ones(2, 2))
    with pytest.raises(TrainingError, match="did not change: backbone"):
        check.after_step(1, {("notes", "icu")}, ["model.max_tokens is 1: raise it"])


def test_what_few_rows_reach_has_many_chances():
    """As values of a code that the first samples lack: its gradient is zeros, not nothing."""
    check = checked({"modalities.static.encoder.slope.weight": nn.Parameter(torch.ones(2, 2))})
    for step in range(1, 200):
        move(check, *check.parameters, gradient=0.0)
        check.after_step(step, {("static", "icu")})
    with pytest.raises(TrainingError, match="step 200: 1 of 1"):
        check.after_step(200, {("static", "icu")})
    move(check, *check.parameters)
    check.after_step(201, {("static", "icu")})
    assert not check.still


def test_lora_a_is_waited_for_until_its_b_is_not_zero():
    """With a gradient of nothing until then, as an fp16 product with a B below 6e-8."""
    names = ["backbone.q.lora_A.weight", "backbone.q.lora_B.weight"]
    check = checked({name: nn.Parameter(torch.zeros(2, 2)) for name in names}, lr=1e-7)
    for step in range(1, 12):
        move(check, names[1])
        check.after_step(step, {("notes", "icu")})
    check.after_step(12, set())
    with pytest.raises(TrainingError, match=r"did not change: backbone\.q\.lora_A"):
        check.after_step(13, {("notes", "icu")})


def test_many_tensors_are_counted_and_a_known_cause_is_named():
    check = checked({f"heads.icu.{number}": nn.Parameter(torch.ones(1)) for number in range(40)})
    with pytest.raises(TrainingError) as caught:
        check.after_step(1, {("notes", "icu")}, ["tasks.icu.weight is 0: raise it"])
    assert str(caught.value) == (
        "step 1: 40 of 40 trainable tensors did not change: heads.icu.0, heads.icu.1, "
        "heads.icu.2 and 37 more; tasks.icu.weight is 0: raise it"
    )
