"""Fine-tune multimodal foundation models on clinical data."""

import os
from typing import Any

os.environ.setdefault("USE_HUB_KERNELS", "NO")  # else transformers fetches native code where `kernels` is installed

__version__ = "0.1.0"
__all__ = ["load", "load_several"]


def __getattr__(name: str) -> Any:
    """Import what needs torch when it is asked for: `clintune --help` must not wait for it."""
    if name in __all__:
        from clintune.inference import load

        return getattr(load, name)
    raise AttributeError(f"module 'clintune' has no attribute '{name}'")
