"""Schedule against transformers, average against its formula; decay and rate of each part."""

import pytest
import torch
from torch import nn
from transformers import get_scheduler

from clintune.config.schema import Trainer
from clintune.core.errors import ConfigError
from clintune.training.optimizer import WeightEMA, make_optimizer, schedule, set_rate


@pytest.mark.parametrize("name", ["cosine", "linear", "constant"])
@pytest.mark.parametrize("num_warmup", [0, 1, 7])
def test_the_rate_is_that_of_transformers(name, num_warmup):
    trainer = Trainer(schedule=name, warmup=num_warmup / 40)
    rates = [schedule(trainer, step, 40) for step in range(40)]

    # Theirs is 0 at step 0 of a warm-up: in a warm-up ours is one step ahead.
    theirs = get_scheduler(
        {"constant": "constant_with_warmup"}.get(name, name),
        torch.optim.SGD([nn.Parameter(torch.ones(1))], lr=1.0),
        num_warmup_steps=num_warmup,
        num_training_steps=40,
    )
    (factor,) = theirs.lr_lambdas
    expected = [factor(step + (step < num_warmup)) for step in range(40)]
    assert rates == pytest.approx(expected, rel=1e-12)


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
