"""Without padding, every family that claims it gives the same outputs and gradients."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from peft import LoraConfig, get_peft_model
from torch import nn
from transformers import AutoConfig, AutoModel

from clintune.layers import varlen_attention as attention
from clintune.layers.varlen import FAMILIES, is_packed, pack_model, run_packed
from clintune.layers.varlen_layout import BIN, Layout, in_bins

BERT = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 32,
    "vocab_size": 64,
    "max_position_embeddings": 32,
    "pad_token_id": 0,
}
DROPOUT_FREE = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
DECODER = {**BERT, "num_key_value_heads": 2}
SLIDING = {"sliding_window": 4, "layer_types": ["sliding_attention", "full_attention"]}
CONFIGS = {
    "bert": {"model_type": "bert", **BERT, **DROPOUT_FREE},
    "distilbert": {
        "model_type": "distilbert",
        "dim": 16,
        "n_layers": 2,
        "n_heads": 4,
        "hidden_dim": 32,
        "vocab_size": 64,
        "max_position_embeddings": 32,
        "dropout": 0.0,
        "attention_dropout": 0.0,
    },
    "electra": {"model_type": "electra", "embedding_size": 16, **BERT, **DROPOUT_FREE},
    "gemma3": {"model_type": "gemma3_text", "head_dim": 8, **DECODER, **SLIDING},
    "gemma3 both ways": {
        "model_type": "gemma3_text",
        "head_dim": 8,
        "use_bidirectional_attention": True,
        **DECODER,
        **SLIDING,
    },
    "llama": {"model_type": "llama", **DECODER},
    "mistral": {"model_type": "mistral", "sliding_window": 4, **DECODER},
    "modernbert": {
        "model_type": "modernbert",
        "local_attention": 8,
        "layer_types": ["sliding_attention", "full_attention"],
        **BERT,
    },
    "qwen2": {"model_type": "qwen2", "use_sliding_window": True, **DECODER, **SLIDING},
    "qwen3": {"model_type": "qwen3", "head_dim": 8, **DECODER},
    "qwen3 sliding": {
        "model_type": "qwen3",
        "head_dim": 8,
        "use_sliding_window": True,
        **DECODER,
        **SLIDING,
    },
}
LENGTHS = torch.tensor([2, 17, 9, 1, 9])
BINS = Layout(LENGTHS, bin_width=19)
MASK = torch.arange(17) < LENGTHS[:, None]


def make(name, implementation="eager"):
    torch.manual_seed(0)
    model = AutoModel.from_config(
        AutoConfig.for_model(**CONFIGS[name]), attn_implementation=implementation
    )
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.3)
    return model.train()


def with_lora(model):
    torch.manual_seed(1)
    model = get_peft_model(
        model, LoraConfig(r=2, target_modules="all-linear", task_type="FEATURE_EXTRACTION")
    )
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(parameter, std=0.3)
    return model


def pair(name, lora=False):
    """Return the model with padding and eager attention, and the same one without padding."""
    plain, bare = make(name), make(name, "sdpa")
    pack_model(bare)
    return (with_lora(plain), with_lora(bare)) if lora else (plain, bare)


def random_tokens(width=16):
    return torch.randn(int(LENGTHS.sum()), width, generator=torch.Generator().manual_seed(2))


def run_padded(model, **tokens):
    block = {
        k: v.new_zeros(*MASK.shape, *v.shape[1:]).masked_scatter(_wide(v), v)
        for k, v in tokens.items()
    }
    positions = torch.arange(MASK.shape[1]).expand_as(MASK)
    return model(**block, attention_mask=MASK.long(), position_ids=positions).last_hidden_state[
        MASK
    ]


def _wide(values):
    return MASK.view(*MASK.shape, *[1] * (values.ndim - 1))


def gradients(model, run, tokens):
    """Return the hidden states and the gradients of a random function of them, by name."""
    tokens = tokens.clone().requires_grad_()
    model.zero_grad()
    hidden = run(model, inputs_embeds=tokens)
    (
        hidden * torch.randn(hidden.shape, generator=torch.Generator().manual_seed(3))
    ).sum().backward()
    found = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    return hidden.detach(), {"tokens": tokens.grad, **found}


def without_padding(model, **tokens):
    return run_packed(model, LENGTHS, **tokens)


def assert_same(found, expected):
    torch.testing.assert_close(found[0], expected[0], rtol=1e-5, atol=1e-5)
    assert found[1].keys() == expected[1].keys()
    for name, gradient in expected[1].items():
        scale = max(1.0, float(gradient.abs().max()))
        torch.testing.assert_close(
            found[1][name] / scale, gradient / scale, rtol=1e-5, atol=1e-5, msg=name
        )


def test_every_family_is_tested():
    assert {config["model_type"] for config in CONFIGS.values()} == FAMILIES


@pytest.fixture(params=[32, 0], ids=["bins", "blocks"])
def longest_in_bins(request, monkeypatch):
    monkeypatch.setattr("clintune.layers.varlen.BIN", request.param)


@pytest.mark.parametrize("lora", [False, True], ids=["bare", "lora"])
@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.usefixtures("longest_in_bins")
def test_outputs_and_gradients_are_those_with_padding(name, lora):
    plain, bare = pair(name, lora)
    assert is_packed(bare)
    assert not is_packed(plain)
    tokens = random_tokens()
    assert_same(gradients(bare, without_padding, tokens), gradients(plain, run_padded, tokens))


@pytest.mark.usefixtures("longest_in_bins")
def test_what_is_not_finite_stays_in_its_sequence():
    _, bare = pair("bert")
    tokens = random_tokens()
    spoilt = tokens.clone()
    spoilt[1] = torch.nan  # of the first sequence
    found, expected = (without_padding(bare, inputs_embeds=values) for values in (spoilt, tokens))
    assert found[:2].isnan().all()
    torch.testing.assert_close(found[2:], expected[2:], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", CONFIGS)
def test_token_ids_give_what_they_give_with_padding(name):
    plain, bare = pair(name)
    ids = torch.randint(1, 64, (int(LENGTHS.sum()),), generator=torch.Generator().manual_seed(0))
    block = torch.zeros_like(MASK, dtype=torch.long).masked_scatter(MASK, ids)
    expected = plain(input_ids=block, attention_mask=MASK.long()).last_hidden_state[MASK]
    torch.testing.assert_close(without_padding(bare, input_ids=ids), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", CONFIGS)
def test_a_model_called_with_padding_answers_as_before(name):
    plain, bare = pair(name)
    tokens = random_tokens()
    torch.testing.assert_close(
        run_padded(bare, inputs_embeds=tokens),
        run_padded(plain, inputs_embeds=tokens),
        rtol=1e-5,
        atol=1e-5,
    )
    ids = torch.randint(1, 64, (2, 9), generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(
        bare(ids).last_hidden_state, plain(ids).last_hidden_state, rtol=1e-5, atol=1e-5
    )


@pytest.mark.parametrize("name", CONFIGS)
def test_gradient_checkpointing_changes_nothing(name):
    _, bare = pair(name, lora=True)
    runs = []
    adapter = next(part for name, part in bare.named_modules() if name.endswith("lora_A.default"))
    adapter.register_forward_hook(lambda *_: runs.append(1))
    expected = gradients(bare, without_padding, random_tokens())
    bare.get_base_model().activation_checkpointing_enable()
    assert_same(gradients(bare, without_padding, random_tokens()), expected)
    assert len(runs) == 3  # once without; with it once more in the backward pass


@pytest.mark.parametrize("name", ["bert", "modernbert", "gemma3", "qwen3"])
def test_under_bf16_autocast_it_is_as_near_as_with_padding(name):
    plain, bare = pair(name)
    tokens = random_tokens()
    exact = run_padded(plain, inputs_embeds=tokens)
    with torch.autocast("cpu", torch.bfloat16):
        padded, found = (
            run_padded(plain, inputs_embeds=tokens),
            without_padding(bare, inputs_embeds=tokens),
        )
    assert found.dtype == padded.dtype
    assert (found - exact).abs().mean() <= 1.5 * (padded - exact).abs().mean()


@pytest.mark.usefixtures("longest_in_bins")
def test_dropout_repeats_with_its_seed_and_in_training_only():
    torch.manual_seed(0)
    config = CONFIGS["bert"] | {"attention_probs_dropout_prob": 0.5}
    model = AutoModel.from_config(AutoConfig.for_model(**config))
    pack_model(model)

    def run(seed):
        torch.manual_seed(seed)
        return without_padding(model, inputs_embeds=random_tokens())

    assert torch.equal(run(0), run(0))
    assert not torch.equal(run(0), run(1))
    model.eval()
    assert torch.equal(run(0), run(1))


def reference(query, key, value, causal, window, scaling):
    """Attend by the definition: softmax over the allowed keys of the own sequence."""
    out = torch.zeros_like(query)
    for start, size in zip([0, *LENGTHS.cumsum(0).tolist()], LENGTHS.tolist(), strict=False):
        for head in range(query.shape[1]):
            for i in range(start, start + size):
                keys = [
                    j
                    for j in range(start, start + size)
                    if (window is None or abs(i - j) < window) and not (causal and j > i)
                ]
                source = head // (query.shape[1] // key.shape[1])
                scores = (key[0, source, keys] @ query[0, head, i]) * scaling
                out[0, head, i] = scores.softmax(0) @ value[0, source, keys]
    return out.transpose(1, 2)


class Attention(nn.Module):
    """What an attention layer tells the attention function."""

    def __init__(self, causal, groups):
        super().__init__()
        self.is_causal = causal
        self.num_key_value_groups = groups


def qkv(device="cpu", dtype=torch.float32, width=8):
    generator = torch.Generator().manual_seed(0)
    total = int(LENGTHS.sum())
    return [
        torch.randn(1, heads, total, width, generator=generator).to(device, dtype)
        for heads in (4, 2, 2)
    ]


@pytest.mark.parametrize("window", [None, 1, 4])
@pytest.mark.parametrize("causal", [False, True])
def test_every_way_to_attend_is_attention_within_the_sequences(causal, window):
    query, key, value = qkv()
    expected = reference(query, key, value, causal, window, 0.3)
    for layout in (Layout(LENGTHS), BINS):
        found, _ = attention.packed_attention(
            Attention(causal, 2),
            query,
            key,
            value,
            None,
            scaling=0.3,
            sliding_window=window,
            layout=layout,
        )
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    wide = [
        query.requires_grad_(),
        *(part.repeat_interleave(2, 1).requires_grad_() for part in (key, value)),
    ]
    grads = []
    block = Layout(LENGTHS)
    for blocks in ([block], block.blocks(1), block.blocks(8), None):
        rule = attention.Rule(causal, window, 0.3)
        if blocks is None:
            found = attention._attend_bins(*wide, BINS, rule, 0.0)
        else:
            found = attention._attend_blocks(*wide, blocks, rule, 0.0)
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
        grads.append(torch.autograd.grad(found.square().sum(), wide))

    for grad in grads[1:]:
        torch.testing.assert_close(grad, grads[0], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("window", [None, 1, 4])
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("layout", [Layout(LENGTHS), BINS], ids=["blocks", "bins"])
def test_dropout_leaves_each_weight_out_or_scales_it_up(causal, window, layout):
    total = int(LENGTHS.sum())
    query, key, _ = qkv(width=total)
    value = torch.eye(total).expand(1, 2, total, total)  # so that what comes out is the weights
    weights = reference(query, key, value, causal, window, 0.1)
    torch.manual_seed(0)
    found, _ = attention.packed_attention(
        Attention(causal, 2), query, key, value, None,
        dropout=0.25, scaling=0.1, sliding_window=window, layout=layout,
    )  # fmt: skip
    kept = found != 0
    torch.testing.assert_close(found[kept], weights[kept] / 0.75)
    assert 0.65 < kept[weights > 0].float().mean() < 0.85


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("window", [None, 4])
@pytest.mark.parametrize("causal", [False, True])
def test_the_kernel_for_sequences_attends_alike(causal, window):
    query, key, value = qkv("cuda", torch.bfloat16, 32)
    if not attention._takes_varlen(query):
        pytest.skip("no kernel for this device")
    expected = reference(*(part.float().cpu() for part in (query, key, value)), causal, window, 0.2)
    key, value = attention.repeat_kv(key, 2), attention.repeat_kv(value, 2)
    rule = attention.Rule(causal, window, 0.2)
    found = attention._attend_varlen(query, key, value, Layout(LENGTHS.cuda()), rule)
    torch.testing.assert_close(found.float().cpu(), expected, rtol=2e-2, atol=2e-2)


@pytest.mark.parametrize("lengths", [[3, 13], [3, 14]])
def test_rows_are_filled_to_a_multiple_of_sixteen(lengths):
    _, model = pair("bert")
    widths = []
    model.encoder.register_forward_pre_hook(
        lambda _, arguments: widths.append(arguments[0].shape[1])
    )
    total = sum(lengths)
    hidden = run_packed(model, torch.tensor(lengths), inputs_embeds=random_tokens()[:total])
    assert widths == [-(-total // 16) * 16]
    assert len(hidden) == total


@given(st.lists(st.integers(1, BIN), min_size=1, max_size=60))
def test_bins_hold_whole_sequences_and_little_else(lengths):
    filled, order, width = in_bins(lengths)
    assert filled[: len(lengths)] == lengths
    assert sorted(order) == list(range(len(filled)))
    assert max(filled) == max(lengths)
    ends = torch.tensor([filled[number] for number in order]).cumsum(0)
    assert set(range(width, int(ends[-1]) + 1, width)) <= set(ends.tolist())
    assert ends[-1] % 16 == 0
    assert ends[-1] <= 1.25 * sum(lengths) + 32


def test_a_block_holds_each_sequence_and_zeros_behind():
    layout, tokens = Layout(LENGTHS), random_tokens(3)
    block = layout.pad(tokens)
    for row, part in zip(block, tokens.split(LENGTHS.tolist()), strict=True):
        assert torch.equal(row[: len(part)], part)
        assert not row[len(part) :].any()
    assert torch.equal(layout.unpad(block), tokens)
    assert layout.positions.tolist() == [i for length in LENGTHS.tolist() for i in range(length)]


def test_neighbours_of_like_length_stand_in_one_block():
    layout, tokens = Layout(torch.tensor([2, 7, 9, 9, 9, 3])), torch.arange(39)
    assert [block.lengths for block in layout.blocks(8)] == [[2, 7], [9, 9, 9], [3]]
    assert [block.longest for block in layout.blocks(8)] == [8, 16, 8]
    exact = layout.blocks(1)
    assert [block.lengths for block in exact] == [[2], [7], [9, 9, 9], [3]]
    parts = tokens.split([block.total for block in exact])
    assert all(
        torch.equal(b.unpad(b.pad(part)), part) and b.mask.all()
        for b, part in zip(exact, parts, strict=True)
    )


@pytest.mark.parametrize(
    "config", [{"model_type": "roberta", **BERT}, CONFIGS["llama"] | {"is_causal": False}]
)
def test_other_families_stay_as_they_are(config):
    model = AutoModel.from_config(AutoConfig.for_model(**config))
    pack_model(model)
    assert not is_packed(model)
