"""Processes that meet trouble in their third step, and how far their weights end from others."""

from pathlib import Path

from safetensors.torch import load_file

ODD = "from clintune.core.errors import DataError; raise DataError('notes: row 7 is odd; mend it')"
TROUBLE = """
import os, signal, sys
if {when}:
    import torch
    from torch.optim import AdamW
    step, count = AdamW.step, 0
    def troubled(*args, **kwargs):
        global count
        count += 1
        if count == 3:  # in the third step
            {what}
        return step(*args, **kwargs)
    AdamW.step = troubled
"""


def apart(one: Path, two: Path) -> float:
    """Return the largest difference between the tensors of two runs' packages."""
    worst = 0.0
    for name in ("parts.safetensors", "adapter_model.safetensors"):
        first, second = load_file(one / "package" / name), load_file(two / "package" / name)
        assert first.keys() == second.keys()
        worst = max(worst, *(float(abs(first[key] - second[key]).max()) for key in first))
    return worst
