"""The training mode of a part: nothing (`frozen`), PEFT's LoRA (`lora`) or all (`full`) trains."""

import warnings
from typing import Any

from peft import LoraConfig, PeftModel, get_peft_model, inject_adapter_in_model
from peft.utils.constants import TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING
from torch import nn

from clintune.config.schema import Adapter
from clintune.core.errors import ConfigError
from clintune.model.backbone import Backbone

MODES = ("frozen", "lora", "full")


def adapt_backbone(backbone: Backbone, adapter: Adapter) -> None:
    """Make the backbone train as `config.schema.Adapter` says.

    With `lora` its model becomes a plain PEFT model. A backbone that shares its base with another
    gets an adapter beside the other's. Raises ConfigError for an unknown mode, targets that do not
    exist, or `full` on weights that cannot train.
    """
    _check_mode(adapter.mode, "adapter.mode")

    # A shared base has its adapter model already.
    if is_peft(backbone.model):
        config = lora_config(adapter, adapter.targets or _default_targets(backbone.model))
        backbone.model.add_adapter(backbone.adapter, config)  # type: ignore[operator]
        return

    if adapter.mode == "full" and backbone.dtype.itemsize < 4:
        raise ConfigError(
            "adapter.mode=full trains the weights themselves and needs backbone.dtype=float32"
        )
    backbone.model.requires_grad_(adapter.mode == "full")
    # Tokens come as embeddings: the table would never be in the graph.
    backbone.embedding.requires_grad_(False)

    if adapter.mode == "lora":
        try:
            targets = adapter.targets or _default_targets(backbone.model)
            # PEFT 0.21 reads an attribute that transformers is about to rename.
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", "`is_gradient_checkpointing`", FutureWarning)
                backbone.model = get_peft_model(backbone.model, lora_config(adapter, targets))
        except ValueError as error:
            raise ConfigError(_no_targets("adapter.targets", error)) from error


def adapt_encoder(encoder: nn.Module, mode: str, adapter: Adapter, key: str) -> None:
    """Make a modality's encoder train as its mode says, in place.

    LoRA goes into its linear and 1 x 1 convolution layers.

    Raises ConfigError for an unknown mode or an encoder without such layers.
    """
    _check_mode(mode, key)
    encoder.requires_grad_(mode == "full")
    if mode == "lora":
        try:
            inject_adapter_in_model(lora_config(adapter, _plain_layers(encoder)), encoder)
        except ValueError as error:
            raise ConfigError(_no_targets(key, error)) from error


def lora_config(adapter: Adapter, targets: Any) -> LoraConfig:
    """Return PEFT's config for `config.schema.Adapter` settings."""
    return LoraConfig(
        r=adapter.r,
        lora_alpha=adapter.alpha,
        lora_dropout=adapter.dropout,
        target_modules=targets if targets is None or isinstance(targets, str) else list(targets),
        use_rslora=adapter.rslora,
        use_dora=adapter.dora,
        bias="none",
        task_type="FEATURE_EXTRACTION",
    )


def is_peft(model: nn.Module) -> bool:
    """Return whether a backbone's model carries a PEFT adapter."""
    return isinstance(model, PeftModel)


def _default_targets(model: Any) -> str | None:
    """Return None where PEFT has defaults for the architecture, else every linear layer."""
    known = TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING
    return None if model.config.model_type in known else "all-linear"


def _plain_layers(encoder: nn.Module) -> list[str]:
    """Return the names of the linear and ungrouped 1 x 1 convolution layers.

    Those inside torch's own attention are left out: it reads their weights directly, and would
    bypass LoRA.
    """
    owned = {
        id(part)
        for module in encoder.modules()
        if isinstance(module, nn.MultiheadAttention)
        for part in module.modules()
    }
    return [
        name
        for name, module in encoder.named_modules()
        if id(module) not in owned and (isinstance(module, nn.Linear) or _is_pointwise(module))
    ]


def _is_pointwise(module: nn.Module) -> bool:
    return isinstance(module, nn.Conv2d) and module.kernel_size == (1, 1) and module.groups == 1


def _check_mode(mode: str, key: str) -> None:
    if mode not in MODES:
        raise ConfigError(f"{key} '{mode}' does not exist; use {', '.join(MODES)}")


def _no_targets(key: str, error: ValueError) -> str:
    return (
        f"{key}: PEFT finds no layers for LoRA ({str(error).splitlines()[0]}); "
        "name them, or use all-linear"
    )
