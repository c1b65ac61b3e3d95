"""Hugging Face models, of resolved weights or random; only the code of transformers runs."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from clintune.core.errors import ConfigError, WeightsError
from clintune.core.text import visible
from clintune.weights.base_files import asks_too_much
from clintune.weights.budget import BudgetError, building_within
from clintune.weights.sources import ResolvedWeights
from clintune.weights.tensor_headers import read_headers

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedConfig, PreTrainedModel


def load_transformer(
    weights: ResolvedWeights | Mapping[str, Any],
    *,
    dtype: "torch.dtype | None" = None,
    **options: Any,
) -> "PreTrainedModel":
    """Load the bare Hugging Face model of a resolved folder, or make one from a config.

    A config must hold `model_type`; its model is random. `options` go to `from_pretrained`. Raises
    WeightsError when the folder lacks weights of the model, or its config asks for a far larger
    one. Only a pooler may lack weights, as in many checkpoints: it is removed from the model rather
    than left random. Raises ConfigError for a config that cannot be used.
    """
    if not isinstance(weights, ResolvedWeights):
        return _random_transformer(weights, dtype)

    model, info = _pretrained_transformer(weights, dtype, options)
    lost = sorted(key for key in info["missing_keys"] if "pooler" not in key)
    lost += sorted(key for key, *_ in info["mismatched_keys"])
    if lost:
        remedy = "take weights of the architecture that config.json names"
        raise WeightsError(
            f"weights {weights.source}: {len(lost)} tensors are missing or misfit, as {lost[0]}; "
            f"{remedy}"
        )
    if info["missing_keys"]:
        drop_unused(model, "pooler")
    return model


def _random_transformer(
    settings: Mapping[str, Any], dtype: "torch.dtype | None"
) -> "PreTrainedModel":
    """Make a random model from a config with `model_type`; ConfigError where it cannot be used."""
    from transformers import AutoModel

    config = _transformer_config(settings)
    try:
        model: PreTrainedModel = AutoModel.from_config(  # type: ignore[no-untyped-call]
            config, dtype=dtype, trust_remote_code=False
        )
    except (AssertionError, ValueError, TypeError, AttributeError) as error:
        raise ConfigError(
            f"config of a random transformer cannot be used ({_line(error)}); correct it"
        ) from error
    return model


def _pretrained_transformer(
    weights: ResolvedWeights, dtype: "torch.dtype | None", options: Mapping[str, Any]
) -> "tuple[PreTrainedModel, dict[str, Any]]":
    """Load a model and the report of transformers on it; WeightsError where that is impossible."""
    import torch
    from transformers import AutoModel

    try:
        with _quiet(), building_within(*stored_size(weights)):
            model, info = AutoModel.from_pretrained(
                weights.path,
                use_safetensors=True,
                local_files_only=True,
                trust_remote_code=False,
                output_loading_info=True,
                ignore_mismatched_sizes=True,  # the caller counts and refuses them
                dtype=dtype or torch.float32,
                **options,
            )
    except BudgetError as error:
        raise WeightsError(
            f"weights {weights.source}: config.json {error}; fetch the model again"
        ) from error
    except (OSError, ValueError, KeyError) as error:
        raise WeightsError(
            f"weights {weights.source}: not a model that transformers loads ({_line(error)})"
        ) from error
    return model, info


def stored_size(weights: ResolvedWeights) -> tuple[int, int]:
    """Return the number of tensors in a folder of weights, and the number of their entries.

    Raises WeightsError for a file that is not in the safetensors format.
    """
    try:
        headers = [
            header
            for path in weights.path.glob("*.safetensors")
            for header in read_headers(path).values()
        ]
    except ValueError as error:
        raise WeightsError(f"weights {weights.source}: {error}; fetch the model again") from error
    # Packed types of a few bits hold two or more entries in a byte.
    return len(headers), sum(max(header.entries, 2 * header.num_bytes) for header in headers)


def drop_unused(model: "torch.nn.Module", *names: str) -> None:
    """Remove parts that nothing reads, such as `pooler`, from a model: they would never train."""
    for module in list(model.modules()):
        for name in names:
            if name in module._modules or name in module._parameters:
                setattr(module, name, None)


def _transformer_config(config: Mapping[str, Any]) -> "PreTrainedConfig":
    from huggingface_hub.errors import StrictDataclassError
    from transformers import AutoConfig

    if "model_type" not in config:
        raise ConfigError(
            "config of a random transformer lacks model_type; add it, as in model_type: bert"
        )
    for problem in [*asks_too_much(config), *_not_settings(config)]:
        raise ConfigError(f"config of a random transformer {problem}; correct it")
    try:
        return AutoConfig.for_model(**config)
    except (ValueError, TypeError, StrictDataclassError) as error:
        raise ConfigError(
            f"config of a random transformer cannot be used ({_line(error)}); correct it"
        ) from error


def _not_settings(config: Mapping[str, Any]) -> Iterator[str]:
    for key in map(str, config):
        if key.startswith("_") or key in {"auto_map", "trust_remote_code", "quantization_config"}:
            yield f"holds {visible(key)}, which is no setting of an architecture"


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep transformers from drawing bars and printing: our own errors say what matters."""
    from transformers.utils import logging

    level = logging.get_verbosity()
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        logging.set_verbosity(level)


def _line(error: Exception) -> str:
    """Return the first line of an error, or the name of its class."""
    lines = str(error).strip().splitlines()
    return visible(lines[0][:200]) if lines else type(error).__name__
