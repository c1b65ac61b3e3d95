"""A budget for building a model: a stranger's config can neither fill the memory nor take hours."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_SPARE_TENSORS = 2**14
_SPARE_ENTRIES = 2**28
"""What may be built beside the stored tensors: parts dropped at once, masks, position tables."""
_TIMES = 8
"""Registrations for each stored tensor: it is registered several times, and its module once."""


class BudgetError(ValueError):
    """An attempt to build more tensors, or larger ones, than there are weights for."""


@contextmanager
def building_within(tensors: int, entries: int) -> Iterator[None]:
    """Raise BudgetError as soon as the block registers far more than the stored parts or entries.

    `tensors` and `entries` are the numbers of stored ones. Each part counts when it is registered
    with its module, before it is filled.
    """
    from torch.nn.modules import module as torch_modules

    # Count down from a generous budget.
    parts_left, entries_left = _TIMES * tensors + _SPARE_TENSORS, _TIMES * entries + _SPARE_ENTRIES

    def count(owner: Any, name: str, part: Any) -> None:
        nonlocal parts_left, entries_left
        del owner, name
        parts_left -= 1
        entries_left -= part.numel() if hasattr(part, "numel") else 0
        if parts_left < 0 or entries_left < 0:
            raise BudgetError("asks for far more than its weights hold")

    # torch calls the hooks for each parameter, buffer and module that is registered.
    hooks = [
        torch_modules.register_module_parameter_registration_hook(count),
        torch_modules.register_module_buffer_registration_hook(count),
        torch_modules.register_module_module_registration_hook(count),
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
