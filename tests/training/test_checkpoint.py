"""Checkpoints are read as they were written, or said to be damaged."""

import re

import numpy as np
import pytest
import torch
from torch import nn

from clintune.config.schema import Trainer
from clintune.core.errors import TrainingError
from clintune.training.checkpoint import Progress, load_best, restore, save, save_best
from clintune.training.optimizer import WeightEMA, make_optimizer

NAMES = ("backbone.a.weight", "backbone.b.bias", "heads.icu.of_query.weight", "queries")


def model(seed, **settings):
    """Return parameters, their average and an optimizer that took two steps."""
    torch.manual_seed(seed)
    parameters = {name: nn.Parameter(torch.randn(3, 3)) for name in NAMES}
    average = WeightEMA(parameters, 0.5)
    optimizer = make_optimizer(parameters, Trainer(**settings))
    for step in (1, 2):
        for parameter in parameters.values():
            parameter.grad = torch.randn_like(parameter)
        optimizer.step()
        average.update(step)
    return parameters, average, optimizer


def states(parameters, average, optimizer):
    """Return all that a checkpoint keeps, by name."""
    found = {f"weight {name}": p.detach().clone() for name, p in parameters.items()}
    found |= {f"average {name}": value.clone() for name, value in average.values.items()}
    for name, parameter in parameters.items():
        found |= {
            f"{key} {name}": value.clone() for key, value in optimizer.state[parameter].items()
        }
    return found


def same(one, two):
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


def flip(path, draw):
    """Turn round one bit of a file."""
    content = bytearray(path.read_bytes())
    content[int(draw.integers(len(content)))] ^= 1 << int(draw.integers(8))
    path.write_bytes(content)


def test_what_is_restored_is_what_was_saved(tmp_path):
    saved = model(0, lr=1e-3, weight_decay=0.1)
    save(tmp_path, Progress(step=2), *saved)
    for settings in ({"lr": 1e-3}, {"lr": 1e-2, "head_lr": 1e-4}, {"weight_decay": 0.0}):
        other = model(1, **settings)
        assert not same(states(*other), states(*saved))
        assert restore(tmp_path, *other) == Progress(step=2)
        assert same(states(*other), states(*saved))
        assert {group["lr"] for group in other[2].param_groups} <= {
            *settings.values(),
            Trainer().lr,
            Trainer().head_lr,
        }


@pytest.mark.parametrize("name", ["trainable", "average", "optimizer", "progress", "sums"])
def test_a_turned_bit_is_named_and_an_older_checkpoint_serves(tmp_path, capsys, name):
    draw, saved = np.random.default_rng(0), model(0)
    save(tmp_path, Progress(step=2), *saved)
    (older,) = tmp_path.iterdir()
    newer = older.rename(tmp_path / "step-00000004")
    save(tmp_path / "elsewhere", Progress(step=2), *saved)
    (file,) = newer.glob(f"{name}.*")
    whole = file.read_bytes()
    for _ in range(20):
        flip(file, draw)
        with pytest.raises(TrainingError) as caught:
            restore(tmp_path, *model(1))
        assert re.fullmatch(
            r".*step-00000004/\w+\.\w+: is damaged or missing: .*; restore .*", str(caught.value)
        )
        file.write_bytes(whole)
    flip(file, draw)
    (tmp_path / "elsewhere" / "step-00000002").rename(older)
    assert restore(tmp_path, *model(1)).step == 2
    assert (
        "is damaged or missing; going on from step-00000002, which is whole"
        in capsys.readouterr().err
    )

    save(tmp_path, Progress(step=3), *saved)
    assert [path.name for path in tmp_path.glob("step-*")] == ["step-00000003"]


def test_a_turned_bit_of_the_best_weights_is_found(
    tmp_path,
):
    draw, saved = np.random.default_rng(0), model(0)
    save_best(tmp_path, saved[0])
    save(tmp_path, Progress(step=2, best_score=0.5, best_step=2), *saved)
    best = tmp_path / "best.safetensors"
    whole, found = best.read_bytes(), 0
    for _ in range(60):
        flip(best, draw)
        other = model(1)
        try:
            load_best(tmp_path, other[0])
        except TrainingError:
            found += 1
        else:  # a blank between the parts of the header
            assert all(torch.equal(other[0][name], saved[0][name]) for name in NAMES)
        best.write_bytes(whole)
    assert found > 50

    best.unlink()
    with pytest.raises(TrainingError, match=r"best\.safetensors: is damaged or missing"):
        restore(tmp_path, *model(1))
