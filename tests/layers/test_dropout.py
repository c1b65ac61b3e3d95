"""Own masks on a CPU: entries are dropped as often as asked, alone, and scaled as torch does."""

import pytest
import torch
from torch import nn

from clintune.layers.dropout import Dropout, dropout, replace_dropout

ENTRIES = 100_003  # no multiple of the four draws that one word gives


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("p", [0.05, 0.1, 0.5, 0.9])
def test_each_entry_is_dropped_or_scaled_as_torch_does(p, dtype):
    torch.manual_seed(0)
    values = torch.ones(ENTRIES, dtype=dtype)
    dropped = dropout(values, p)
    deviation = (p * (1 - p) / ENTRIES) ** 0.5
    assert abs((dropped == 0).float().mean() - p) < 4 * deviation
    assert dropped.unique().tolist() == nn.functional.dropout(values, p).unique().tolist()


def test_neighbours_are_dropped_independently():
    torch.manual_seed(0)
    kept = (dropout(torch.ones(ENTRIES), 0.5) != 0).float()
    for distance in (1, 2, 3, 4, 8):
        pair = torch.stack([kept[:-distance], kept[distance:]])
        assert abs(torch.corrcoef(pair)[0, 1]) < 4 / ENTRIES**0.5


def test_gradients_pass_where_entries_do():
    torch.manual_seed(0)
    values = torch.randn(7, 33).requires_grad_()
    dropped = dropout(values, 0.25)
    dropped.sum().backward()
    torch.testing.assert_close(values.grad, (dropped / values).detach())
    assert 0 < (values.grad == 0).sum() < values.numel() / 2


def test_the_seed_repeats_the_draws():
    def run(seed):
        torch.manual_seed(seed)
        return dropout(torch.ones(100), 0.5)

    assert torch.equal(run(0), run(0))
    assert not torch.equal(run(0), run(1))


@pytest.mark.parametrize("p", [0.0, 1.0])
def test_none_or_all(p):
    assert torch.equal(dropout(torch.ones(9), p), torch.full((9,), 1 - p))


def test_every_dropout_of_a_model_is_replaced_and_keeps_its_mode():
    model = nn.Sequential(nn.Dropout(0.5), nn.Sequential(nn.Dropout(0.1), nn.Dropout1d(0.1))).eval()
    replace_dropout(model)
    assert [type(part) for part in (model[0], *model[1])] == [Dropout, Dropout, nn.Dropout1d]
    values = torch.randn(4, 4)
    assert torch.equal(model(values), values)
    assert (model.train()(values) == 0).any()
    assert model[1][0].p == 0.1
