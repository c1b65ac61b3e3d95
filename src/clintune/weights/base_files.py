"""The files of a base model: which of them are read, and what they must not ask for."""

import importlib.util
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from clintune.core.errors import WeightsError
from clintune.core.files import file_sha256
from clintune.core.text import visible

IMPLEMENTATIONS = ("eager", "sdpa", "flash_attention_2")
"""Of attention and experts. Any other is a name of code that transformers fetches, or of a kernel that is not here."""
MOST_COUNT = 2**24
"""The greatest whole number under a key that counts or measures something."""
_COUNTS = ("num", "layer", "size", "dim", "width", "depth", "head", "expert", "rank", "hidden", "position", "channel")
_READ = frozenset(
    {
        "config.json",
        "generation_config.json",
        "model.safetensors.index.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "special_tokens_map.json",
        "added_tokens.json",
        "vocab.json",
        "vocab.txt",
        "merges.txt",
        "preprocessor_config.json",
        "processor_config.json",
    }
)
"""Files that transformers, timm or a tokenizer read, beside the weights and the models of sentencepiece (*.model)."""
_MOST_BYTES = 2**24


def file_hashes(folder: Path) -> tuple[tuple[str, str], ...]:
    """Return name and SHA-256 of every file of a base that is read, the weights aside."""
    paths = [path for path in folder.iterdir() if path.name in _READ or path.suffix == ".model"]
    return tuple((path.name, file_sha256(path)) for path in sorted(paths) if path.is_file())


def check_base(folder: Path, source: str) -> None:
    """Raise WeightsError for a folder that is an adapter, or whose config asks for code or sizes that no model has."""
    if (folder / "adapter_config.json").exists():
        raise WeightsError(f"weights {source}: holds adapter_config.json, which names another base; merge it first")
    path = folder / "config.json"
    if not path.is_file():
        return
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise ValueError("too large")
        config = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise WeightsError(f"weights {source}: config.json is not JSON; fetch the model again") from error
    for problem in asks_too_much(config):
        raise WeightsError(f"weights {source}: config.json {problem}; correct it, or take another model")


def asks_too_much(config: Any, depth: int = 0) -> Iterator[str]:
    """Yield what a config of a transformer asks for that no config may, however deep."""
    if depth > 32:
        yield "is nested more than 32 deep"
        return
    pairs = config.items() if isinstance(config, dict) else enumerate(config) if isinstance(config, list) else ()
    for key, value in pairs:
        name = str(key)
        if name.endswith("implementation") and (problem := _refused(value)):
            yield f"asks for {visible(name)} {problem}"
        elif name == "use_kernels" and value:
            yield "asks for kernels of a hub (use_kernels)"
        elif type(value) is int and value > MOST_COUNT and counts(name):
            yield f"asks for {visible(name)} of {value if value < 2**64 else 'too many'}"
        yield from asks_too_much(value, depth + 1)


def counts(key: str) -> bool:
    """Return whether a number under this key of a config counts or measures something that takes memory."""
    return any(word in key for word in _COUNTS)


def _refused(value: Any) -> str | None:
    """Return which implementation is none of ours, None where all are; a mapping has one for each part of a model."""
    for name in value.values() if isinstance(value, dict) else [value]:
        if name is not None and name not in IMPLEMENTATIONS:
            return f"{visible(name)[:100]}, which is none of {', '.join(IMPLEMENTATIONS)}"
        if name == "flash_attention_2" and importlib.util.find_spec("flash_attn") is None:
            return "flash_attention_2, and flash-attn is not installed"
    return None
