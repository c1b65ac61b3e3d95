"""Names that torch uses itself serve as names of modalities and tasks."""

import io
from copy import deepcopy

import pytest
import torch
from torch import nn

from clintune.model.by_name import ModulesByName, ParametersByName

TAKEN = sorted(
    {n for kind in (nn.ModuleDict, nn.ParameterDict) for n in dir(kind()) if not n.startswith("__")}
)
TAKEN.remove("training")


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.heads = ModulesByName({name: nn.Linear(2, 1) for name in TAKEN})
        self.kinds = ParametersByName({name: nn.Parameter(torch.randn(2)) for name in TAKEN})

    def forward(self, values):
        return {name: head(values + self.kinds[name]) for name, head in self.heads.items()}


@pytest.fixture
def model():
    torch.manual_seed(0)
    return Model()


def test_every_name_of_torch_reaches_its_module_and_parameter(model):
    assert {"type", "train", "float", "keys", "forward", "values"} < set(TAKEN)
    values = torch.randn(3, 2)
    for name, answer in model(values).items():
        head = model.heads[name]
        torch.testing.assert_close(answer, (values + model.kinds[name]) @ head.weight.T + head.bias)
    assert list(model.kinds) == list(model.heads) == TAKEN


def test_what_torch_does_with_modules_goes_on_as_ever(model):
    assert not any(part.training for part in model.train().eval().modules())
    assert all(p.dtype == torch.float64 for p in model.double().parameters())
    assert len(list(model.parameters())) == 3 * len(TAKEN)

    file = io.BytesIO()
    torch.save(model.state_dict(), file)
    file.seek(0)
    other = Model().double()
    other.load_state_dict(torch.load(file))
    values = torch.randn(3, 2, dtype=torch.float64)
    torch.testing.assert_close(other(values), model(values))
    torch.testing.assert_close(deepcopy(model)(values), model(values))

    sum(answer.sum() for answer in model(values).values()).backward()
    assert all(p.grad is not None for p in model.parameters())
