"""The model contract: text as embeddings, time order, missing modalities, gradients everywhere."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from clintune.config.schema import Adapter, Backbone
from clintune.contracts import Batch, PieceBatch, Tokens
from clintune.modalities.base import Modality
from clintune.modalities.readers import ItemReader
from clintune.modalities.static import Static
from clintune.model.adapters import adapt_backbone
from clintune.model.backbone import load_backbone
from clintune.model.fusion import Fusion, order_by_time
from clintune.model.heads import pool
from clintune.package.contents import package_tensors
from clintune.training.optimizer import NEW_PARTS

SMALL = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "vocab_size": 64,
}
FAMILIES = {
    "bert": {
        "model_type": "bert",
        "max_position_embeddings": 64,
        "hidden_dropout_prob": 0.0,
        **SMALL,
    },
    "modernbert": {
        "model_type": "modernbert",
        "max_position_embeddings": 64,
        "pad_token_id": 0,
        **SMALL,
    },
    "qwen3": {
        "model_type": "qwen3",
        "num_key_value_heads": 1,
        "head_dim": 8,
        "max_position_embeddings": 64,
        **SMALL,
    },
    "gemma3": {
        "model_type": "gemma3_text",
        "num_key_value_heads": 1,
        "head_dim": 8,
        "max_position_embeddings": 64,
        **SMALL,
    },
}


class Unasked(ItemReader):
    def row_filter(self):
        raise AssertionError("not asked here")

    preprocess = fake = row_filter


class Fixed(Modality):
    """An encoder whose tokens are in the batch already."""

    def __init__(self, width, native=False):
        super().__init__(Unasked(max_pieces=9), mode="frozen")
        self.width = width
        self.native = native

    def build(self, statistics):
        raise AssertionError("not asked here")

    def token_ids(self, tensors):
        return tensors["ids"]


def backbone(family, mode="lora"):
    torch.manual_seed(0)
    loaded = load_backbone(Backbone(source="random", config=FAMILIES[family], max_tokens=48))
    adapt_backbone(loaded, Adapter(mode=mode, r=2))
    return loaded


def fusion(family="bert", readout="trained", **modalities):
    torch.manual_seed(1)
    parts = modalities or {"a": Fixed(6), "b": Fixed(5)}
    model = Fusion(
        parts, backbone(family), {"y": 1, "z": 3}, max_tokens=48, readout=readout, head_dropout=0.0
    )
    for parameter in model.parameters():
        if parameter.requires_grad and not parameter.any():
            nn.init.normal_(parameter, std=0.1)  # parts that start at zero must show their effect
    return model.eval()


def batch(num, **pieces):
    return Batch(pieces=pieces, targets={}, keys=[str(i) for i in range(num)])


def tokens(seed, owner, width, hours=None):
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(len(owner), 1, width, generator=generator)
    hours = (
        torch.rand(len(owner), generator=generator) * 100 if hours is None else torch.tensor(hours)
    )
    return PieceBatch(tensors={}, encoded=values, hours=hours, owner=torch.tensor(owner))


@pytest.mark.parametrize("family", FAMILIES)
def test_text_through_embeddings_equals_text_through_ids(family):
    bare = load_backbone(Backbone(source="random", config=FAMILIES[family], max_tokens=48)).eval()
    ids = torch.randint(1, 64, (2, 12), generator=torch.Generator().manual_seed(0))
    mask = torch.ones_like(ids, dtype=torch.bool)
    mask[1, 7:] = False
    by_ids = bare.model(input_ids=ids, attention_mask=mask.long()).last_hidden_state
    by_embeddings = bare(bare.embed(ids)[mask], mask.sum(1))
    torch.testing.assert_close(by_embeddings, by_ids[mask], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_sample_has_the_same_outputs_alone_and_in_any_batch(family):
    model = fusion(family)
    a, b = tokens(0, [0, 0, 1, 2, 2, 2], 6), tokens(1, [1, 1, 2], 5)
    together = model(batch(4, a=a, b=b))
    alone = model(
        batch(
            1,
            a=PieceBatch(
                tensors={}, encoded=a.encoded[2:3], hours=a.hours[2:3], owner=torch.tensor([0])
            ),
            b=PieceBatch(
                tensors={}, encoded=b.encoded[:2], hours=b.hours[:2], owner=torch.tensor([0, 0])
            ),
        )
    )
    for task in ("y", "z"):
        torch.testing.assert_close(together[task][1:2], alone[task], rtol=1e-4, atol=1e-5)


def test_the_order_of_pieces_in_a_batch_does_not_matter():
    model = fusion()
    a = tokens(0, [0, 0, 1, 1], 6)
    turned = PieceBatch(
        tensors={}, encoded=a.encoded.flip(0), hours=a.hours.flip(0), owner=a.owner.flip(0)
    )
    torch.testing.assert_close(model(batch(2, a=a))["y"], model(batch(2, a=turned))["y"])


def test_time_and_kind_reach_the_output():
    model = fusion()
    early = tokens(0, [0], 6, hours=[500.0])
    late = tokens(0, [0], 6, hours=[1.0])
    assert not torch.allclose(
        model(batch(1, a=early))["y"], model(batch(1, a=late))["y"], atol=1e-5
    )


@pytest.mark.parametrize("present", [{"a"}, {"b"}, {"a", "b"}, set()])
def test_every_trainable_part_stays_in_the_graph(present):
    model = fusion().train()
    pieces = {"a": tokens(0, [0, 1], 6), "b": tokens(1, [1], 5)}
    outputs = model(batch(2, **{name: pieces[name] for name in present}))
    (outputs["y"].sum() + outputs["z"].square().sum()).backward()
    assert [
        name for name, p in model.named_parameters() if p.requires_grad and p.grad is None
    ] == []
    absent = [
        p
        for name, p in model.named_parameters()
        if p.requires_grad and set(name.split(".")) & ({"a", "b"} - present)
    ]
    assert all(not p.grad.any() for p in absent)


def test_parts_that_start_untrained_learn_at_the_rate_of_heads():
    names = [name for name, p in fusion().named_parameters() if p.requires_grad]
    pretrained = [name for name in names if not name.startswith(NEW_PARTS)]
    assert pretrained == [name for name in names if name.startswith("backbone.")]
    assert all(any(name.startswith(part) for name in names) for part in NEW_PARTS)


def test_only_lora_trains_in_the_backbone():
    trains = [name for name, p in backbone("bert").named_parameters() if p.requires_grad]
    assert len(trains) == 2 * 2 * 2  # layers x (query, value) x (A, B)
    assert all(".lora_" in name for name in trains)


def test_native_tokens_are_the_backbones_own_embeddings():
    model = fusion(notes=Fixed(0, native=True), readout=None)
    for parameter in (model.modality_embedding["notes"], model.time_embedding.linear.weight):
        nn.init.zeros_(parameter)
    ids = torch.tensor([3, 5, 7])
    pieces = PieceBatch(
        tensors={"ids": ids}, hours=torch.zeros(3), owner=torch.zeros(3, dtype=torch.long)
    )
    embeddings, lengths = order_by_time(
        [model._project("notes", model._encode("notes", pieces, 1))], model.queries, 1, 48
    )
    torch.testing.assert_close(embeddings[:3], model.backbone.embed(ids))
    assert lengths.tolist() == [3 + 2]


@settings(deadline=None, max_examples=100)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 5)), max_size=25), st.integers(3, 12))
def test_packing_agrees_with_a_plain_reference(rows, max_tokens):
    queries = -torch.ones(2, 1)
    values = torch.arange(1.0, len(rows) + 1)[:, None]
    owner = torch.tensor([o for o, _ in rows], dtype=torch.long)
    hours = torch.tensor([float(h) for _, h in rows])
    embeddings, lengths = order_by_time(
        [Tokens(embeddings=values, owner=owner, hours=hours)], queries, 4, max_tokens
    )
    parts = embeddings[:, 0].split(lengths.tolist())
    for sample in range(4):
        own = sorted(
            (i for i in range(len(rows)) if rows[i][0] == sample), key=lambda i: -rows[i][1]
        )
        kept = own[max(0, len(own) - (max_tokens - 2)) :]
        expected = [float(i + 1) for i in kept] + [-1.0, -1.0]
        assert parts[sample].tolist() == expected


def test_pooling_averages_rows_and_leaves_absent_samples_zero():
    values = torch.randn(3, 2, 4, generator=torch.Generator().manual_seed(0))
    pieces = PieceBatch(
        tensors={}, encoded=values, hours=torch.zeros(3), owner=torch.tensor([0, 0, 2])
    )
    pooled = pool(Tokens.of_pieces(values, pieces), 3, scaled=False)
    rows = values.numpy()
    normal = (rows - rows.mean(-1, keepdims=True)) / np.sqrt(rows.var(-1, keepdims=True) + 1e-5)
    np.testing.assert_allclose(pooled[0].numpy(), normal[:2].mean((0, 1)) / 2, rtol=1e-5, atol=1e-6)
    assert not pooled[1].any()


def test_a_plain_peft_model_loads_the_adapter(tmp_path):
    from peft import PeftModel
    from transformers import AutoModel

    trained = backbone("qwen3")
    for name, parameter in trained.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(parameter, std=0.5)
    trained.model.save_pretrained(tmp_path / "adapter")
    trained.model.get_base_model()
    base = AutoModel.from_config(trained.model.config)
    plain = {
        name.replace(".base_layer", ""): value
        for name, value in trained.model.get_base_model().state_dict().items()
        if ".lora_" not in name
    }
    base.load_state_dict(plain)
    loaded = PeftModel.from_pretrained(base, tmp_path / "adapter").eval()
    embeddings = torch.randn(2, 5, 16, generator=torch.Generator().manual_seed(0))
    expected = trained.eval()(embeddings.flatten(0, 1), torch.tensor([5, 5])).view(2, 5, 16)
    torch.testing.assert_close(
        loaded(inputs_embeds=embeddings).last_hidden_state, expected, rtol=1e-5, atol=1e-5
    )


def test_settings_that_exclude_each_other_are_refused():
    from clintune.core.errors import ConfigError

    with pytest.raises(ConfigError, match=r"max_tokens 99 is more than the 64 positions"):
        load_backbone(Backbone(source="random", config=FAMILIES["bert"], max_tokens=99))
    with pytest.raises(ConfigError, match=r"adapter.mode 'lora2' does not exist"):
        adapt_backbone(backbone("bert"), SimpleNamespace(mode="lora2"))
    half = load_backbone(
        Backbone(source="random", config=FAMILIES["bert"], dtype="bfloat16", max_tokens=48)
    )
    with pytest.raises(ConfigError, match=r"dtype=float32"):
        adapt_backbone(half, Adapter(mode="full"))
    with pytest.raises(ConfigError, match=r"adapter.targets"):
        adapt_backbone(
            load_backbone(Backbone(source="random", config=FAMILIES["bert"], max_tokens=48)),
            Adapter(targets=["no_such"]),
        )


@pytest.mark.parametrize("mode", ["frozen", "full"])
def test_a_probe_reads_facts_whatever_their_encoder_does(mode):
    static = Static(codes=["X"], width=16, mode=mode)
    static.build(
        {"codes": {"AGE": {"mean": 60.0, "std": 10.0}, "SEX//F": {"mean": None, "std": None}}}
    )
    model = fusion(readout="probe", static=static)
    pieces = {
        "code": torch.tensor([1, 2]),
        "value": torch.tensor([2.0, 0.0]),
        "has_value": torch.tensor([1.0, 0.0]),
    }
    both = PieceBatch(tensors=pieces, hours=torch.zeros(2), owner=torch.tensor([0, 0]))
    assert static.probe_width == static.num_facts == 4
    with torch.no_grad():
        before = model(batch(1, static=both))["y"]
        model.task_heads["y"].of_features["static"].weight += torch.tensor(
            [[1.0, 10.0, 100.0, 1000.0]]
        )
        after = model(batch(1, static=both))["y"]
    torch.testing.assert_close(after - before, torch.tensor([[(2.0 * 1 + 100 + 1000) / 2 / 2]]))


class Choosing(Fixed):
    """Two features, of which a probe may read either or both."""

    scaled = True
    probe_choices = ([0], [1], [0, 1])


def test_the_backbone_reads_the_features_that_the_probe_chose():
    model = fusion(readout="probe", a=Choosing(2), b=Fixed(3))
    assert model.projectors["b"].chosen is None

    def reads(feature):
        changed = tokens(0, [0], 2)
        changed.encoded[..., feature] += 1
        with torch.no_grad():
            return not torch.equal(
                model.projectors["a"](changed.encoded),
                model.projectors["a"](tokens(0, [0], 2).encoded),
            )

    assert [reads(0), reads(1)] == [True, True]
    model.task_heads["y"].of_features["a"].weight.data[0] = torch.tensor([0.0, 0.5])
    model.mask_unselected_features()
    assert [reads(0), reads(1)] == [False, True]
    model.task_heads["z"].of_features["a"].weight.data[2] = torch.tensor([0.1, 0.0])
    model.mask_unselected_features()
    assert reads(0)
    again = fusion(readout="probe", a=Choosing(2), b=Fixed(3))
    again.load_state_dict(package_tensors(model), strict=False)
    assert torch.equal(again.projectors["a"].chosen, model.projectors["a"].chosen)
