"""The speed benchmark compares like with like; the scaling one counts what it says it counts."""

import json
import sys
from dataclasses import fields
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from conftest import run_python

SPEED = Path(__file__).parents[1] / "scripts" / "speed"
BATCH = 8
EPOCHS = 8
SUBJECTS = 16


@pytest.fixture(scope="module", autouse=True)
def _path():
    sys.path.insert(0, str(SPEED))
    yield
    sys.path.remove(str(SPEED))


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    from prepare import prepare

    folder = tmp_path_factory.mktemp("speed")
    arguments = {"backbone": "minilm", "cohort": None, "label": "deterioration"}
    made = prepare(folder, **arguments, subjects=SUBJECTS, image_size=32)
    short = {"chunk_tokens": 16, "overlap_tokens": 4, "max_chunks": 6}
    return made.change(**short, batch_size=BATCH, epochs=EPOCHS, lr=2e-3, workers=0)


@pytest.fixture(scope="module")
def plain(settings):
    from variant import plain

    return plain(settings)


@pytest.fixture(scope="module")
def clintune(settings):
    from variant import clintune

    return clintune(settings)[1]


def test_both_sides_see_the_same(plain, clintune):
    assert plain["samples"] == clintune["samples"] == SUBJECTS * EPOCHS
    assert plain["steps"] == clintune["steps"] == SUBJECTS * EPOCHS // BATCH
    assert plain["tokens"] == clintune["tokens"]
    assert plain["trainable_parameters"] == pytest.approx(
        clintune["trainable_parameters"], rel=0.03
    )


def test_the_plain_loop_trains(plain):
    per_epoch = torch.tensor(plain["losses"]).reshape(EPOCHS, -1).mean(1)
    assert per_epoch[-1] < 0.9 * per_epoch[0]


def test_padding_is_what_the_lengths_imply(settings):
    from transformers import AutoTokenizer
    from variant import plain

    results = plain(settings.change(batch_size=SUBJECTS, epochs=1))
    tokenizer = AutoTokenizer.from_pretrained(settings.text_model)
    lengths = []
    for line in (Path(settings.folder) / "samples.jsonl").read_text().splitlines():
        sample = json.loads(line)
        words = [len(tokenizer.tokenize(text)) for _, text in sample["notes"]]
        chunks = [
            1 + max(0, -(-(num - 14) // 10)) for num in words
        ]  # 14 tokens, then 10 new ones a chunk
        lengths.append(min(sum(chunks), 6) + min(len(sample["images"]), 4) + 1)
    assert len(lengths) == SUBJECTS
    assert results["tokens"] == sum(lengths)
    assert results["positions"] == SUBJECTS * max(lengths)
    assert results["padding_share"] == pytest.approx(1 - sum(lengths) / (SUBJECTS * max(lengths)))


def test_the_floor_is_the_same_step_on_one_batch(settings, clintune):
    from variant import floor

    results = floor(settings.change(epochs=1), num_steps=5)
    assert results.keys() == clintune.keys()
    assert results["steps"] == 5
    assert results["samples"] == 5 * BATCH
    assert results["tokens"] % 5 == results["positions"] % 5 == 0
    assert results["trainable_parameters"] == clintune["trainable_parameters"]


def test_operations_are_those_that_torch_counts():
    from measure import training_flops
    from peft import LoraConfig, get_peft_model
    from torch.utils.flop_counter import FlopCounterMode
    from transformers import AutoConfig, AutoModel

    shape = {
        "hidden_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 96,
    }
    config = AutoConfig.for_model("bert", vocab_size=8, attn_implementation="eager", **shape)
    model = AutoModel.from_config(config)
    model.pooler = None
    backbone = get_peft_model(model, LoraConfig(r=4, target_modules=["query", "value"]))
    length = 24
    embeddings = torch.randn(1, length, 64, requires_grad=True)
    with FlopCounterMode(display=False) as counter:
        backbone(inputs_embeds=embeddings).last_hidden_state.sum().backward()
    assert training_flops(backbone, torch.tensor([length])) == pytest.approx(
        counter.get_total_flops(), rel=1e-3
    )


@pytest.mark.parametrize(
    ("name", "billions"), [("qwen3-0.6b-sized", 0.44), ("qwen3-4b-sized", 3.6)]
)
def test_large_backbones_have_the_size_of_their_models(name, billions):
    """Parameters beside the embeddings, as on the cards of Qwen3-0.6B and Qwen3-4B."""
    from settings import BACKBONES
    from transformers import AutoConfig, AutoModel

    with torch.device("meta"):
        model = AutoModel.from_config(
            AutoConfig.for_model("qwen3", vocab_size=1024, **BACKBONES[name])
        )
    size = sum(parameter.numel() for parameter in model.layers.parameters())
    assert size / 1e9 == pytest.approx(billions, rel=0.02)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_large_backbones_are_refused_in_a_line():
    done = run_python(str(SPEED / "main.py"), "--backbone", "qwen3-4b-sized")
    assert done.returncode
    assert "CUDA" in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.slow
def test_the_script_writes_table_and_json(tmp_path):
    from settings import Settings

    from report import Ratio

    words = ["--subjects", "24", "--epochs", "1", "--image-size", "32", "--batch-size", "8"]
    done = run_python(str(SPEED / "main.py"), *words, "--json", str(tmp_path / "speed.json"))
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "speed.json").read_text())
    assert [(row["scenario"], row["variant"]) for row in result["runs"]] == [
        ("frozen, 1 epochs", "clintune"),
        ("frozen, 1 epochs", "plain"),
        ("trained, 1 epoch", "clintune"),
        ("trained, 1 epoch", "plain"),
        ("floor", "clintune, warm"),
        ("floor", "floor"),
    ]
    assert len({frozenset(row) for row in result["runs"]}) == 1
    assert len({row["samples"] for row in result["runs"][:4]}) == 1
    for ratio, (ours, theirs) in zip(
        result["ratios"], zip(*[iter(result["runs"])] * 2, strict=True), strict=True
    ):
        assert set(ratio) == {field.name for field in fields(Ratio)}
        assert ratio["ratio"] == ours[ratio["figure"]] / theirs[ratio["figure"]]
    assert set(result["settings"]) == {field.name for field in fields(Settings)}
    assert {"cpu", "cores", "torch", "precision", "commit"} <= set(result["machine"])


def test_time_in_collectives_is_counted_once():
    from process import shares
    from torch.autograd import DeviceType

    def event(name, start, end):
        span = SimpleNamespace(start=start, end=end)
        return SimpleNamespace(name=name, time_range=span, device_type=DeviceType.CPU)

    events = [
        event("profiled steps", 100, 200),
        event("gloo:barrier", 90, 105),  # 5 inside
        event("aten::mm", 110, 140),
        event("gloo:all_reduce", 130, 150),  # 20, 10 of them beside mm
        event("gloo:all_gather", 135, 160),  # 10 more, beside the first
        event("c10d::wait", 150, 190),  # neither
        event("gloo:all_reduce", 195, 300),  # 5 inside
    ]
    assert shares(events) == {"communication_share": 0.40, "exposed_share": 0.30}


@pytest.mark.slow
def test_scaling_writes_every_figure(tmp_path):
    words = [
        "--no-size",
        "--processes",
        "2",
        "--steps",
        "2",
        "--subjects",
        "16",
        "--image-size",
        "32",
    ]
    done = run_python(
        str(SPEED / "scale.py"), *words, "--batch-size", "4", "--json", str(tmp_path / "scale.json")
    )
    assert done.returncode == 0, done.stderr

    result = json.loads((tmp_path / "scale.json").read_text())
    one, *several = result["runs"]
    assert [
        (row["scaling"], row["strategy"], row["processes"], row["batch_size"])
        for row in result["runs"]
    ] == [
        ("one process", "-", 1, 4),
        ("strong", "ddp", 2, 4),
        ("weak", "ddp", 2, 8),
        ("strong", "fsdp2", 2, 4),
        ("weak", "fsdp2", 2, 8),
    ]
    assert len({frozenset(row) for row in result["runs"]}) == 1
    assert one["speed_up"] == one["efficiency"] == 1
    assert one["communication_share"] == one["exposed_share"] == 0
    for row in several:
        assert 0 < row["efficiency"] < 1.5
        assert row["speed_up"] == row["samples_per_second"] / one["samples_per_second"]
        assert 0 < row["exposed_share"] <= row["communication_share"] < 1
        assert row["memory_mb"] > 0
        assert 0 <= row["busy_before"] <= 1
    assert {"cpu", "cores", "threads", "torch", "gpus"} <= set(result["machine"])
    assert result["size"] is None
