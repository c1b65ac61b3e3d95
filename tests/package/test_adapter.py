"""A real backbone's adapter: stock PEFT gives the same hidden states; several share one base."""

from pathlib import Path

import pytest
import torch
from peft import PeftModel
from transformers import AutoModel

from clintune.core.errors import PackageError
from clintune.package.load import load_package
from clintune.weights import resolve

NATIVE = [
    "backbone=minilm",
    "modalities.notes.source=bundled:minilm",
    "modalities.notes.config=null",
]


@pytest.fixture(scope="module")
def trained(shared_run):
    """Return a function that trains on MiniLM with some overrides and returns the package."""
    return lambda *overrides: (
        shared_run(*NATIVE, "trainer.max_steps=2", "trainer.lr=0.05", *overrides) / "package"
    )


def hidden(package, embeddings):
    lengths = torch.tensor([len(embeddings)])
    with torch.no_grad():
        return package.model.backbone(embeddings, lengths)


@pytest.mark.parametrize("variant", ["adapter.rslora=true", "adapter.dora=true"])
def test_stock_peft_gives_the_hidden_states_of_the_backbone(trained, variant):
    folder = trained(variant)
    embeddings = torch.randn(20, 384, generator=torch.Generator().manual_seed(0))
    stock = PeftModel.from_pretrained(
        AutoModel.from_pretrained(resolve("bundled:minilm").path), folder
    ).eval()
    with torch.no_grad():
        expected = stock(inputs_embeds=embeddings[None]).last_hidden_state[0]
        with stock.disable_adapter():
            plain = stock(inputs_embeds=embeddings[None]).last_hidden_state[0]
    found = hidden(load_package(folder), embeddings)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    assert not torch.allclose(found, plain, atol=1e-3), "the adapter changes nothing"


def test_the_adapter_names_its_base_and_no_path_of_this_machine(trained):
    folder = trained()
    assert (
        '"base_model_name_or_path": "bundled:minilm"'
        in (folder / "adapter_config.json").read_text()
    )
    assert str(Path.home()) not in (folder / "adapter_config.json").read_text()


def test_packages_that_share_a_base_answer_as_if_alone(trained):
    folders = [trained(), trained("seed=1", "adapter.r=5")]
    embeddings = torch.randn(12, 384, generator=torch.Generator().manual_seed(1))
    alone = [hidden(load_package(folder), embeddings) for folder in folders]
    first = load_package(folders[0])
    second = load_package(folders[1], shared=first.model.backbone)
    base = dict(first.model.backbone.model.named_parameters())[
        "base_model.model.encoder.layer.0.output.dense.weight"
    ]
    assert any(parameter is base for parameter in second.model.parameters())
    for _ in range(2):  # back and forth
        torch.testing.assert_close(hidden(first, embeddings), alone[0], rtol=0, atol=0)
        torch.testing.assert_close(hidden(second, embeddings), alone[1], rtol=0, atol=0)


def test_a_base_is_shared_by_adapters_of_that_base_only(trained, shared_run):
    lora, full = trained(), trained("adapter=full")
    shared = load_package(lora).model.backbone
    with pytest.raises(PackageError, match="only LoRA adapters of one pretrained base"):
        load_package(full, shared=shared)
    random = shared_run("trainer.max_steps=2") / "package"
    with pytest.raises(PackageError, match="its adapter sits on another base"):
        load_package(random, shared=shared)
