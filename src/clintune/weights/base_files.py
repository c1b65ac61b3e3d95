"""The files of a base model: which of them are read, and what their content must not ask for."""

import importlib.util
import json
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from clintune.core.errors import WeightsError
from clintune.core.files import Stamp, file_sha256, file_signature
from clintune.core.text import visible

IMPLEMENTATIONS = ("eager", "sdpa", "flash_attention_2")
"""Implementations of attention and experts.

Any other name is that of code that transformers fetches, or of a kernel that is not here.
"""
MOST_COUNT = 2**24
"""The greatest whole number under a key that counts or measures something."""
_LAYERS = 2**12
_MOST = {"label": 2**16} | dict.fromkeys(
    ("layers", "n_layer", "num_layer", "depth", "blocks", "stages"), _LAYERS
)
"""The greatest whole number under a key that holds such a word.

It is more labels or layers than any real model has.
"""
_COUNTS = (
    "num",
    "layer",
    "size",
    "dim",
    "width",
    "depth",
    "head",
    "expert",
    "rank",
    "hidden",
    "position",
    "channel",
)
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
        "vocab.bpe",
        "vocab-src.json",
        "vocab-tgt.json",
        "target_vocab.json",
        "entity_vocab.json",
        "merges.txt",
        "bpe.codes",
        "byte_maps.json",
        "dict.txt",
        "emoji.json",
        "normalizer.json",
        "prophetnet.tokenizer",
        "tekken.json",
        "word_pronunciation.json",
        "word_shape.json",
        "preprocessor_config.json",
        "processor_config.json",
    }
)
"""Files that transformers, timm or a tokenizer read, beside weights and models of sentencepiece."""
_MODELS = frozenset({".model", ".spm"})
"""Suffixes in the name of a model of sentencepiece or tiktoken, as in `tokenizer.model.v3`."""
_INDEX = "model.safetensors.index.json"
_ELSEWHERE = {
    "config.json": ("configuration_files", "transformers_weights"),
    "tokenizer_config.json": ("fast_tokenizer_files",),
}
"""Keys that make transformers read another file than that with a known checksum."""
_PACKED = ("quantization_config", "compression_config")
_MOST_BYTES = 2**24


def is_read(path: Path) -> bool:
    """Return whether a file of a base is read, by its name; weights are not asked about."""
    return path.name in _READ or not _MODELS.isdisjoint(path.suffixes)


def file_hashes(folder: Path) -> tuple[tuple[str, str], ...]:
    """Return name and SHA-256 of every file of a base that is read, without the weights."""
    paths = [path for path in folder.iterdir() if is_read(path)]
    return tuple((path.name, remembered_sha256(path)) for path in sorted(paths) if path.is_file())


def check_base(folder: Path, source: str) -> None:
    """Raise WeightsError unless every file of the base in a folder can be known.

    Refused are an adapter, a pipe or device, files that lead to others without a checksum, packed
    weights, and a config that asks for code, or for sizes that no model has.
    """
    # Every file is plain, and the folder is no adapter.
    if (folder / "adapter_config.json").exists():
        raise WeightsError(
            f"weights {source}: holds adapter_config.json, which names another base; merge it first"
        )
    for path in sorted(folder.iterdir()):
        if (is_read(path) or path.suffix == ".safetensors") and not path.is_file():
            raise WeightsError(
                f"weights {source}: {visible(path.name)} is no plain file; fetch the model again"
            )

    # No file leads to another one that has no checksum.
    read = {
        name: _read(folder / name, source)
        for name in (*_ELSEWHERE, _INDEX)
        if (folder / name).is_file()
    }
    for name, keys in _ELSEWHERE.items():
        for key in keys:
            if key in read.get(name, {}):
                remedy = "take the key out, or take another model"
                raise WeightsError(
                    f"weights {source}: {name} leads to files without a checksum ({key}); {remedy}"
                )

    # The config asks for nothing that it may not.
    for problem in (*asks_too_much(read.get("config.json")), *_packed(read.get("config.json"))):
        raise WeightsError(
            f"weights {source}: config.json {problem}; correct it, or take another model"
        )
    if _INDEX in read:
        _check_index(folder, source, read[_INDEX])


def _read(path: Path, source: str) -> Mapping[str, Any]:
    """Return the mapping that a JSON file of a base holds."""
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise ValueError("too large")
        value = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise WeightsError(
            f"weights {source}: {path.name} is not JSON; fetch the model again"
        ) from error
    if not isinstance(value, dict):
        raise WeightsError(f"weights {source}: {path.name} is no mapping; fetch the model again")
    return value


def _check_index(folder: Path, source: str, index: Mapping[str, Any]) -> None:
    """Raise WeightsError unless an index leads only to safetensors files of the folder.

    Those files have a checksum.
    """
    listed = index.get("weight_map")
    names = listed.values() if isinstance(listed, dict) else [listed]
    own = {path.name for path in folder.glob("*.safetensors")}
    for name in names:
        if not isinstance(name, str) or name not in own:
            shown = visible(name)[:100]
            raise WeightsError(
                f"weights {source}: {_INDEX} leads to {shown}, no .safetensors file of the folder; "
                "fetch the model again, or take another"
            )


def _packed(config: Any, depth: int = 0) -> Iterator[str]:
    """Yield where a config says that weights are packed.

    transformers would ignore what it does not know of the packing.
    """
    for name, value in _entries(config):
        if name in _PACKED and value is not None:
            yield f"says that its weights are packed ({name}), which is not read"
        if depth < 32:
            yield from _packed(value, depth + 1)


def asks_too_much(config: Any, depth: int = 0, above: str = "") -> Iterator[str]:
    """Yield what the config of a transformer asks for, at any depth, that no config may.

    The numbers of a list count as values of the key `above` of the list.
    """
    if depth > 32:
        yield "is nested more than 32 deep"
        return
    for name, value in _entries(config, above):
        if name.endswith("implementation") and (problem := _refused(value)):
            yield f"asks for {visible(name)[:100]} {problem}"
        elif name == "use_kernels" and value:
            yield "asks for kernels of a hub (use_kernels)"
        elif type(value) is int and counts(name) and value > most_of(name):
            yield f"asks for {visible(name)[:100]} of {value if value < 2**64 else 'too many'}"
        yield from asks_too_much(value, depth + 1, name)


def counts(key: str) -> bool:
    """Return whether a number under this key counts or measures something that takes memory."""
    return any(word in key for word in (*_COUNTS, *_MOST))


def most_of(key: str) -> int:
    """Return the greatest whole number under a key that counts or measures something."""
    return min((most for word, most in _MOST.items() if word in key), default=MOST_COUNT)


def _entries(config: Any, above: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the values of a mapping by key, or those of a list, each by the key `above` them."""
    if isinstance(config, dict):
        yield from ((str(key), value) for key, value in config.items())
    elif isinstance(config, list):
        yield from ((above, value) for value in config)


def _refused(value: Any) -> str | None:
    """Return which implementation is refused; None where none is.

    A mapping holds one implementation for each part of a model.
    """
    for name in value.values() if isinstance(value, dict) else [value]:
        if name is not None and name not in IMPLEMENTATIONS:
            return f"{visible(name)[:100]}, which is none of {', '.join(IMPLEMENTATIONS)}"
        if name == "flash_attention_2" and importlib.util.find_spec("flash_attn") is None:
            return "flash_attention_2, and flash-attn is not installed"
    return None


def remembered_sha256(path: Path) -> str:
    """Return the SHA-256 of a file; a process computes it once while the file stays the same.

    It is for base weights, which each fold and member loads again.
    """
    (stamp,) = file_signature([path])
    return _sha256_of(stamp)


@lru_cache(maxsize=1024)
def _sha256_of(stamp: Stamp) -> str:
    return file_sha256(Path(stamp[0]))
