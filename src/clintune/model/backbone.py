"""The shared backbone: any Hugging Face encoder or decoder, run on embeddings, not token ids."""

import inspect
from copy import copy
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.modeling_layers import GradientCheckpointingLayer

from clintune.config.schema import Backbone as Settings
from clintune.core.errors import ConfigError
from clintune.layers.varlen import is_packed, pack_model, run_packed
from clintune.layers.varlen_layout import Layout
from clintune.weights import ResolvedWeights, drop_unused, load_transformer, resolve
from clintune.weights.positions import first_position, max_positions

_LENGTHS = [7, 3]
"""Lengths of the two sequences that test a backbone when it is loaded."""
_CLOSE, _LESS_CLOSE = 1e-3, 0.1
"""Greatest difference of hidden states, relative to the largest, in float32 and in fewer bits."""


class Backbone(nn.Module):
    """A transformer that maps the token embeddings of N sequences to hidden states [M, D].

    The sequences stand one behind the other. `model` is the bare Hugging Face model, or the PEFT
    model around it. `weights` says where its weights came from (None for a random model). Backbones
    made by `beside` share one PEFT model, each with its own `adapter`.
    """

    def __init__(self, model: PreTrainedModel, weights: ResolvedWeights | None) -> None:
        super().__init__()
        self.model: nn.Module = model
        self.weights = weights
        self.adapter = "default"
        config = model.config.get_text_config()
        self.width: int = config.hidden_size
        self.first_position = first_position(model)
        self.max_positions = max_positions(model)
        self._takes_positions = "position_ids" in inspect.signature(model.forward).parameters

    @property
    def embedding(self) -> Any:
        """Return the table of the input embeddings."""
        return self.model.get_input_embeddings()  # type: ignore[operator]

    @property
    def dtype(self) -> torch.dtype:
        """Return the floating-point type of the input embeddings."""
        return self.embedding.weight.dtype  # type: ignore[no-any-return]

    def embed(self, ids: Tensor) -> Tensor:
        """Embed token ids as the backbone itself does, with its scaling."""
        return self.embedding(ids)  # type: ignore[no-any-return]

    def embedding_rms(self) -> float:
        """Return the root mean square of the input embeddings: the scale for new tokens."""
        rows = torch.arange(
            min(1024, self.embedding.weight.shape[0]), device=self.embedding.weight.device
        )
        with torch.no_grad():
            return float(self.embed(rows).float().square().mean().sqrt())

    def beside(self) -> "Backbone":
        """Return another backbone of the same base, for an adapter of its own."""
        other = copy(self)
        other._modules = dict(self._modules)
        other.adapter = f"adapter-{len(self.model.peft_config)}"  # type: ignore[arg-type]
        return other

    def compile_layers(self) -> None:
        """Compile each layer in place with torch.compile, for any number of tokens.

        The names of parameters stay. Raises ConfigError where the family marks no layers.
        """
        layers = [
            part for part in self.model.modules() if isinstance(part, GradientCheckpointingLayer)
        ]
        if not layers:
            raise ConfigError("backbone.compile finds no layers in this model; leave it false")
        for layer in layers:
            layer.compile(dynamic=True)

    def forward(self, embeddings: Tensor, lengths: Tensor) -> Tensor:
        """Run on the embeddings [M, D] of sequences of `lengths` int64 [N]; return float32 [M, D].

        A family that cannot run without padding gets a padded block. Positions count up in each
        sequence from the first position of the pretrained model. They are passed explicitly,
        because models guess them differently when they get embeddings.
        """
        if getattr(self.model, "active_adapter", self.adapter) != self.adapter:
            self.model.set_adapter(self.adapter, inference_mode=True)  # type: ignore[operator]
        embeddings = embeddings.to(self.dtype)
        if is_packed(self.model):
            return run_packed(self.model, lengths, inputs_embeds=embeddings).float()

        # Pad for a family that needs it.
        layout = Layout(lengths)
        first = self.first_position
        positions = torch.arange(first, first + layout.longest, device=lengths.device).expand_as(
            layout.mask
        )
        extra: dict[str, Any] = {"position_ids": positions} if self._takes_positions else {}
        output = self.model(
            inputs_embeds=layout.pad(embeddings),
            attention_mask=layout.mask.long(),
            return_dict=True,
            **extra,
        )
        return layout.unpad(output.last_hidden_state).float()


def load_backbone(settings: Settings) -> Backbone:
    """Load the backbone that a `config.schema.Backbone` describes.

    Raises ConfigError for settings that do not go together, and WeightsError for weights that
    cannot be found, read or verified.
    """
    quantization = _quantization(settings)
    dtype = getattr(torch, settings.dtype, None)
    if not isinstance(dtype, torch.dtype):
        raise ConfigError(
            f"backbone.dtype '{settings.dtype}' is not a torch dtype; "
            "use float32, bfloat16 or float16"
        )

    if settings.source == "random":
        if not settings.config:
            raise ConfigError(
                "backbone.source is random but backbone.config is empty; give a Hugging Face config"
            )
        weights, model = None, load_transformer(dict(settings.config), dtype=dtype)
    else:
        weights = resolve(settings.source, revision=settings.revision, sha256=settings.sha256)
        model = load_transformer(weights, dtype=dtype, quantization_config=quantization)

    # A vision-language model brings its own vision tower; only its language model reads our tokens.
    # Of an encoder and a decoder the encoder reads them.
    model = getattr(model, "language_model", model)
    model = model.get_encoder() if model.config.is_encoder_decoder else model
    drop_unused(model, "pooler")  # the heads read the query tokens
    pack_model(model)
    if settings.liger:
        _use_liger(model)

    try:
        backbone = Backbone(model, weights)
    except (AttributeError, NotImplementedError) as error:
        raise ConfigError(_unlike_tokens(model)) from error

    if backbone.max_positions is not None and settings.max_tokens > backbone.max_positions:
        raise ConfigError(
            f"backbone.max_tokens {settings.max_tokens} is more than the {backbone.max_positions} "
            f"positions of {settings.source}; lower it"
        )
    _check_embeddings(backbone)
    return backbone


@torch.no_grad()
def _check_embeddings(backbone: Backbone) -> None:
    """Raise ConfigError for a family that reads embeddings in another way than ids.

    Also refused is a family in which sequences of a batch influence each other. Two short sequences
    run together on embeddings, and each by itself on ids, as in pretraining.
    """
    model, training = backbone.model, backbone.training
    backbone.eval()
    try:
        # Run each sequence by itself, on ids.
        table = backbone.embedding.weight
        ids = (torch.arange(sum(_LENGTHS), device=table.device) * 7 + 5) % table.shape[0]
        alone = [
            model(input_ids=part[None], return_dict=True) for part in torch.split(ids, _LENGTHS)
        ]
        expected = torch.cat([output.last_hidden_state[0] for output in alone]).float()

        # Run both together, on embeddings.
        found = backbone(backbone.embed(ids), torch.tensor(_LENGTHS, device=table.device))
        difference = float((found - expected).abs().max() / expected.abs().max())
        alike = difference <= (_CLOSE if backbone.dtype == torch.float32 else _LESS_CLOSE)
    except (TypeError, ValueError, RuntimeError, AttributeError, IndexError, NotImplementedError):
        alike = False
    finally:
        backbone.train(training)

    if not alike:
        raise ConfigError(_unlike_tokens(model))


def _unlike_tokens(model: Any) -> str:
    family = model.config.model_type
    return (
        f"backbone: {family} does not read embeddings as it reads token ids; choose another family"
    )


def _use_liger(model: PreTrainedModel) -> None:
    if not torch.cuda.is_available():
        raise ConfigError("backbone.liger needs a CUDA device; run on a GPU or leave it false")
    try:
        from liger_kernel.transformers import monkey_patch
    except ImportError as error:
        raise ConfigError(
            "backbone.liger needs liger-kernel; pip install 'clintune[liger]'"
        ) from error

    family = model.config.model_type
    if family not in monkey_patch.MODEL_TYPE_TO_APPLY_LIGER_FN:
        raise ConfigError(f"backbone.liger has no kernels for {family}; leave it false")
    # Its losses would replace the forward pass of a bare model by that of a language model.
    monkey_patch._apply_liger_kernel_to_instance(
        model, cross_entropy=False, fused_linear_cross_entropy=False
    )


def _quantization(settings: Settings) -> Any:
    if settings.quantize is None:
        return None
    # Only 4 bits are offered, and they need a GPU and a library.
    if settings.quantize != "4bit":
        raise ConfigError(
            f"backbone.quantize '{settings.quantize}' does not exist; use 4bit or null"
        )
    if not torch.cuda.is_available():
        raise ConfigError(
            "backbone.quantize=4bit needs a CUDA device; run on a GPU or leave it null"
        )
    try:
        import bitsandbytes  # noqa: F401
    except ImportError as error:
        raise ConfigError(
            "backbone.quantize=4bit needs bitsandbytes; pip install 'clintune[qlora]'"
        ) from error

    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(  # type: ignore[no-untyped-call]
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )
