"""An export gives the package's hidden states, as stock model and ONNX, whatever the padding."""

import numpy as np
import onnxruntime
import pytest
import torch
from transformers import AutoModel

from clintune.cli import main
from clintune.package.load import load_package

DECODER = """
backbone: {config: {model_type: qwen3, hidden_size: 32, num_attention_heads: 2,
  num_key_value_heads: 1, head_dim: 16}}
"""


@pytest.fixture(
    params=[
        ("adapter=lora", ""),
        ("adapter=lora", DECODER),
        ("adapter=full", ""),
        pytest.param(("backbone=minilm", ""), marks=pytest.mark.slow),
    ]
)
def package(request, shared_run):
    override, extra = request.param
    return shared_run("trainer.max_steps=2", "trainer.lr=0.05", override, extra=extra) / "package"


def test_the_merged_backbone_is_the_backbone_with_its_adapter(package, tmp_path, capsys):
    assert main(["export", str(package), f"out={tmp_path / 'out'}", "--onnx"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == str(tmp_path / "out")

    backbone = load_package(package).model.backbone
    generator = torch.Generator().manual_seed(3)
    embeddings = torch.randn(3, 9, backbone.width, generator=generator) * backbone.embedding_rms()
    lengths = torch.tensor([9, 4, 1])
    mask = torch.arange(9) < lengths[:, None]
    with torch.no_grad():
        expected = backbone(embeddings[mask], lengths)
        stock = AutoModel.from_pretrained(tmp_path / "out" / "backbone", dtype=torch.float32).eval()
        found = stock(inputs_embeds=embeddings, attention_mask=mask.long()).last_hidden_state[mask]
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)

    session = onnxruntime.InferenceSession(
        tmp_path / "out" / "backbone.onnx", providers=["CPUExecutionProvider"]
    )
    feeds = {"inputs_embeds": embeddings.numpy(), "attention_mask": mask.long().numpy()}
    (states,) = session.run(None, feeds)
    np.testing.assert_allclose(states[mask.numpy()], expected.numpy(), atol=1e-4, rtol=0)


def test_mistakes_are_answered_in_one_line(tmp_path, capsys):
    for words, answer in {
        (".",): "add out=FOLDER",
        (".", "ouput=x"): "key 'ouput' does not exist",
        (".", f"out={tmp_path}"): "exists; name a new folder",
        (str(tmp_path), f"out={tmp_path / 'new'}"): "no package there",
    }.items():
        assert main(["export", *words]) == 2
        assert answer in capsys.readouterr().err
