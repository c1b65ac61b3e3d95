"""Backbones of every family read embeddings as they read their ids, or are refused."""

import pytest
import torch

from clintune.config.schema import Backbone
from clintune.core.errors import ConfigError
from clintune.model.backbone import load_backbone

SMALL = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "vocab_size": 100,
    "max_position_embeddings": 66,
}
GROUPED = SMALL | {"num_key_value_heads": 2, "head_dim": 16}
T5 = {"d_model": 32, "num_layers": 2, "num_heads": 2, "d_kv": 16, "d_ff": 64, "vocab_size": 100}
BART = {
    "d_model": 32,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 64,
    "decoder_ffn_dim": 64,
    "vocab_size": 100,
}
SERVED = {
    **dict.fromkeys(
        ("bert", "roberta", "xlm-roberta", "camembert", "mpnet", "data2vec-text", "mra"), SMALL
    ),
    **dict.fromkeys(
        ("deberta-v2", "gpt_neox", "phi", "bert-generation", "roberta-prelayernorm"), SMALL
    ),
    **dict.fromkeys(("llama", "qwen3", "gemma", "mistral", "granite"), GROUPED),
    **dict.fromkeys(("electra", "albert"), SMALL | {"embedding_size": 32}),
    "longformer": SMALL | {"attention_window": 8},
    "distilbert": {"dim": 32, "n_layers": 2, "n_heads": 2, "hidden_dim": 64, "vocab_size": 100},
    "modernbert": SMALL | {"pad_token_id": 0},
    "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 2, "vocab_size": 100},
    "opt": SMALL | {"ffn_dim": 64, "word_embed_proj_dim": 32},
    "bloom": {"hidden_size": 32, "n_layer": 2, "n_head": 2, "vocab_size": 100},
    "t5": T5,
    "bart": BART,
    "mamba": {"hidden_size": 32, "num_hidden_layers": 2, "state_size": 4, "vocab_size": 100},
    "xlnet": {"d_model": 32, "n_layer": 2, "n_head": 2, "d_inner": 64, "vocab_size": 100},
}
REFUSED = {
    "fnet": SMALL,
    "esm": SMALL | {"pad_token_id": 1, "mask_token_id": 4},
    "ibert": SMALL,
    "canine": SMALL,
}
LATE = {
    "roberta",
    "roberta-prelayernorm",
    "xlm-roberta",
    "camembert",
    "mpnet",
    "longformer",
    "data2vec-text",
    "mra",
}
"""Families whose positions begin at 2, behind that of padding, as fairseq has it."""


def loaded(family, config, **settings):
    torch.manual_seed(0)
    settings = {"max_tokens": 40, **settings}
    return load_backbone(
        Backbone(source="random", config={"model_type": family, **config}, **settings)
    ).eval()


@pytest.mark.parametrize("family", SERVED)
def test_a_family_reads_embeddings_as_ids(family):
    backbone = loaded(family, SERVED[family])
    lengths = [20, 7, 33, 1]
    ids = torch.randint(5, 90, (sum(lengths),))
    with torch.no_grad():
        alone = [
            backbone.model(input_ids=part[None]).last_hidden_state[0]
            for part in torch.split(ids, lengths)
        ]
        together = backbone(backbone.embed(ids), torch.tensor(lengths))
    torch.testing.assert_close(together, torch.cat(alone), rtol=1e-4, atol=1e-5)
    assert backbone.first_position == (2 if family in LATE else 0)


@pytest.mark.parametrize("family", REFUSED)
def test_a_family_that_cannot_is_refused_in_one_line(family):
    with pytest.raises(
        ConfigError, match=f"^backbone: {family} does not read embeddings as it reads token ids; "
    ):
        loaded(family, REFUSED[family])


def test_positions_kept_for_padding_are_none_of_the_budget():
    with pytest.raises(ConfigError, match="max_tokens 65 is more than the 64 positions"):
        loaded("roberta", SMALL, max_tokens=65)
    assert loaded("roberta", SMALL, max_tokens=64).max_positions == 64
    assert loaded("t5", T5, max_tokens=5000).max_positions is None


def test_a_config_that_makes_no_model_is_refused_in_one_line():
    with pytest.raises(ConfigError, match="config of a random transformer cannot be used"):
        loaded("squeezebert", SMALL)
