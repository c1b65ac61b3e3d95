"""Fine-tune multimodal foundation models on clinical data."""

import os
from importlib import import_module
from typing import Any

# Otherwise transformers fetches native code where `kernels` is installed.
os.environ.setdefault("USE_HUB_KERNELS", "NO")

_EXPORTS = {
    "Run": "clintune.api",
    "load": "clintune.inference.load",
    "load_several": "clintune.inference.load",
    "train": "clintune.api",
}
"""The module of each name that can be imported from here."""

__version__ = "0.1.0"
__all__ = ["Run", "load", "load_several", "train"]


def __getattr__(name: str) -> Any:
    """Import a name only when it is asked for: `clintune --help` must not wait for torch."""
    if name in _EXPORTS:
        return getattr(import_module(_EXPORTS[name]), name)
    raise AttributeError(f"module 'clintune' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
