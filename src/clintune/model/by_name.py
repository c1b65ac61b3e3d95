"""Modules and parameters under names that users choose.

Such a name may be one of torch's own: `type`, `train`, `keys`.
"""

from collections.abc import Iterator, Mapping

from torch import nn


class ModulesByName(nn.ModuleDict):
    """Modules by name, each reached as an item.

    As an attribute torch's own part of that name would be found.
    """

    def add_module(self, name: str, module: nn.Module | None) -> None:
        """Add a module under any name; torch refuses those of its own."""
        assert module is not None, f"{name}: has no module"
        self._modules[name] = module


class ParametersByName(nn.Module):
    """Parameters by name, each reached as an item."""

    def __init__(self, parameters: Mapping[str, nn.Parameter]) -> None:
        super().__init__()
        self._parameters.update(parameters)

    def __getitem__(self, name: str) -> nn.Parameter:
        parameter = self._parameters[name]
        assert parameter is not None, f"{name}: has no parameter"
        return parameter

    def __iter__(self) -> Iterator[str]:
        return iter(self._parameters)
