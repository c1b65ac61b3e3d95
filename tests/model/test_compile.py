"""Compiled layers and other kernels: the recipe asks for them, and only the speed changes."""

import pytest
import torch
from torch import nn

from clintune.config.schema import Adapter, Backbone
from clintune.core.errors import ConfigError
from clintune.model.adapters import adapt_backbone
from clintune.model.backbone import load_backbone

BERT = {
    "model_type": "bert",
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "vocab_size": 64,
    "attention_probs_dropout_prob": 0.0,
    "hidden_dropout_prob": 0.0,
}


def backbone():
    torch.manual_seed(0)
    made = load_backbone(Backbone(source="random", config=BERT, max_tokens=48))
    adapt_backbone(made, Adapter(r=2))
    for name, parameter in made.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(parameter, std=0.5)
    return made.train()


@pytest.mark.slow
@pytest.mark.filterwarnings(
    "ignore:The .grad attribute of a Tensor"
)  # dynamo looks at tensors that have none
def test_compiled_layers_answer_alike_under_their_old_names():
    plain, compiled = backbone(), backbone()
    compiled.compile_layers()
    assert list(compiled.state_dict()) == list(plain.state_dict())

    for lengths in (torch.tensor([3, 7, 1]), torch.tensor([9, 2])):
        tokens = torch.randn(int(lengths.sum()), 16, generator=torch.Generator().manual_seed(1))
        weights = torch.randn(tokens.shape, generator=torch.Generator().manual_seed(2))
        hidden = []
        for made in (plain, compiled):
            made.zero_grad()
            hidden.append(made(tokens, lengths))
            (hidden[-1] * weights).sum().backward()
        torch.testing.assert_close(hidden[1], hidden[0], rtol=1e-4, atol=1e-4)
        for name, parameter in plain.named_parameters():
            if parameter.requires_grad:
                found = compiled.get_parameter(name).grad
                torch.testing.assert_close(found, parameter.grad, rtol=1e-3, atol=1e-4, msg=name)


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_kernels_for_cuda_are_refused_in_one_line_without_it():
    with pytest.raises(ConfigError, match=r"backbone.liger needs a CUDA device; .*"):
        load_backbone(Backbone(source="random", config=BERT, max_tokens=48, liger=True))
