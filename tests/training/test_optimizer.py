"""Schedule and average against their formulas, and which weights decay and learn at which rate."""

import math

import pytest
import torch
from torch import nn

from clintune.config.schema import Trainer
from clintune.core.errors import ConfigError
from clintune.training.optimizer import WeightEMA, make_optimizer, schedule, set_rate


def test_the_rate_warms_up_linearly_and_decays_by_the_formula():
    rates = {
        name: [schedule(Trainer(schedule=name, warmup=0.2), step, 10) for step in range(10)]
        for name in FORMULAS
    }
    for name, formula in FORMULAS.items():
        assert rates[name] == pytest.approx([0.5, 1.0, *(formula(k / 8) for k in range(8))])


FORMULAS = {
    "cosine": lambda done: (1 + math.cos(math.pi * done)) / 2,
    "linear": lambda done: 1 - done,
    "constant": lambda done: 1.0,
}


def test_without_warm_up_the_first_step_has_the_whole_rate():
    assert schedule(Trainer(warmup=0.0), 0, 1) == 1.0


def test_an_unknown_schedule_is_refused_by_name():
    with pytest.raises(ConfigError, match="'step' does not exist"):
        schedule(Trainer(schedule="step", warmup=0.0), 0, 10)


def test_the_average_is_the_weighted_sum_of_all_weights_seen():
    parameter = nn.Parameter(torch.tensor([1.0, -2.0]))
    average = WeightEMA({"w": parameter}, 0.5)
    seen, factors = [parameter.detach().clone()], [1.0]
    for step in range(1, 21):
        with torch.no_grad():
            parameter.mul_(0.9).add_(0.1 * step)
        average.update(step)
        decay = min(0.5, step / (step + 10))
        factors = [*(factor * decay for factor in factors), 1 - decay]
        seen.append(parameter.detach().clone())
    assert sum(factors) == pytest.approx(1.0)

    expected = sum(factor * value for factor, value in zip(factors, seen, strict=True))
    torch.testing.assert_close(average.values["w"], expected)

    trained = parameter.detach().clone()
    with average.applied():
        torch.testing.assert_close(parameter.detach(), expected)
    assert torch.equal(parameter.detach(), trained)


def test_vectors_do_not_decay_and_new_parts_have_a_rate():
    parameters = {
        "backbone.lora_A": nn.Parameter(torch.ones(2, 2)),
        "backbone.bias": nn.Parameter(torch.ones(2)),
        "heads.y.weight": nn.Parameter(torch.ones(1, 2)),
        "queries": nn.Parameter(torch.ones(1, 2)),
    }
    optimizer = make_optimizer(parameters, Trainer(lr=1e-3, head_lr=1e-2, weight_decay=0.1))
    set_rate(optimizer, 0.5)
    found = {
        name: (group["lr"], group["weight_decay"])
        for group in optimizer.param_groups
        for name, parameter in parameters.items()
        if any(parameter is member for member in group["params"])
    }

    assert found == {
        "backbone.lora_A": (5e-4, 0.1),
        "backbone.bias": (5e-4, 0.0),
        "heads.y.weight": (5e-3, 0.1),
        "queries": (5e-3, 0.0),
    }
