import re
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import polars as pl
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoModel, AutoTokenizer

from clintune.config.schema import Adapter
from clintune.contracts import Item
from clintune.core.errors import ConfigError, DataError
from clintune.modalities.base import collate_pieces
from clintune.modalities.note_readers import ChunkReader, split_sentences
from clintune.modalities.notes import NativeNotes, Notes
from clintune.model.adapters import adapt_encoder
from clintune.weights import resolve

ITEM = Item(hours=3.0, code="NOTE", where="notes.parquet row 1", text="")
ROBERTA = {
    "model_type": "roberta",
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "vocab_size": 30522,
    "max_position_embeddings": 40,
}
T5 = {
    "model_type": "t5",
    "d_model": 16,
    "num_layers": 1,
    "num_heads": 2,
    "d_kv": 8,
    "d_ff": 32,
    "vocab_size": 30522,
}
MODERN = {
    **ROBERTA,
    "model_type": "modernbert",
    "pad_token_id": 0,
    "cls_token_id": 101,
    "sep_token_id": 102,
}
SENTENCE = st.lists(
    st.sampled_from(["fever", "cough", "pain", "dyspnoea", "since", "3"]), min_size=1
)
TEXT = st.lists(SENTENCE.map(lambda words: " ".join(words) + "."), min_size=1, max_size=12).map(
    " ".join
)


def build(**settings):
    notes = Notes(**{"source": "bundled:minilm", **settings})
    notes.build({})
    return notes.eval()


@pytest.fixture(scope="module")
def minilm():
    return build()


def embed(notes, *texts):
    with torch.no_grad():
        return notes.encode(
            collate_pieces([notes.reader.preprocess(replace(ITEM, text=text)) for text in texts])
        )[:, 0]


def body(notes, text):
    """Return the note's tokens chunk by chunk, without special ones."""
    tensors = notes.reader.preprocess(replace(ITEM, text=text)).tensors
    return [
        ids[mask.bool()][1:-1].tolist()
        for ids, mask in zip(tensors["input_ids"], tensors["attention_mask"], strict=True)
    ]


def test_tokens_are_the_mean_embeddings_that_transformers_gives(minilm):
    folder = resolve("bundled:minilm").path
    texts = [
        "Fever and cough since Monday.",
        "Chest radiograph is clear, no effusion, no pneumothorax.",
    ]
    batch = AutoTokenizer.from_pretrained(folder)(texts, padding=True, return_tensors="pt")
    with torch.no_grad():
        hidden = AutoModel.from_pretrained(folder).eval()(**batch).last_hidden_state
    means = [
        row[mask.bool()].mean(0) for row, mask in zip(hidden, batch["attention_mask"], strict=True)
    ]
    torch.testing.assert_close(embed(minilm, *texts), torch.stack(means), atol=1e-5, rtol=1e-5)


def test_sentences_of_like_meaning_are_near_each_other(minilm):
    found = embed(
        minilm,
        "The patient has a fever.",
        "He is running a high temperature.",
        "The invoice was paid.",
    )
    near, far = torch.cosine_similarity(found[0], found[1:])
    assert near > far + 0.3


def test_cls_pooling_takes_the_first_token(minilm):
    cls = build(pooling="cls")
    tensors = cls.reader.preprocess(replace(ITEM, text="Fever.")).tensors
    with torch.no_grad():
        expected = cls.encoder(**tensors).last_hidden_state[:, 0]
        torch.testing.assert_close(cls.encode(tensors)[:, 0], expected)
        assert not torch.allclose(minilm.encode(tensors)[:, 0], expected)


@pytest.mark.parametrize("mode", ["full", "lora"])
@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_an_encoder_that_trains_gets_the_gradients_of_padding(mode, pooling):
    torch.manual_seed(0)
    notes = build(
        source="random",
        config=MODERN,
        tokenizer="bundled:minilm",
        mode=mode,
        pooling=pooling,
        chunk_tokens=24,
    )
    adapt_encoder(notes.encoder, mode, Adapter(r=2), "mode")
    for name, parameter in notes.encoder.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter)
    pieces = [
        notes.reader.preprocess(replace(ITEM, text=text))
        for text in ("Fever.", "No cough. " * 9, "Pain since Monday.")
    ]

    def run():
        notes.zero_grad()
        tokens = notes.encode(collate_pieces(pieces))
        (tokens * torch.arange(tokens.shape[-1]) / tokens.shape[-1]).sum().backward()
        return tokens.detach(), [p.grad.clone() for p in notes.parameters() if p.grad is not None]

    found = run()
    notes.encoder.set_attn_implementation("sdpa")
    torch.testing.assert_close(found, run(), atol=1e-5, rtol=1e-4)
    assert found[1]


@settings(max_examples=40, deadline=None)
@given(text=TEXT, length=st.integers(8, 40), overlap=st.integers(0, 5))
def test_chunks_of_tokens_cover_the_note(minilm, text, length, overlap):
    notes = Notes(
        source="bundled:minilm",
        chunk="tokens",
        chunk_tokens=length,
        overlap_tokens=overlap,
        max_pieces=1000,
    )
    notes.reader.tokenizer = minilm.reader.tokenizer
    whole = minilm.reader.tokenizer(text, add_special_tokens=False)["input_ids"]
    chunks = body(notes, text)
    rebuilt = chunks[0]
    for chunk in chunks[1:]:
        assert chunk[:overlap] == rebuilt[len(rebuilt) - overlap :]
        assert len(chunk) > overlap
        rebuilt = rebuilt + chunk[overlap:]
    assert rebuilt == whole
    assert all(len(chunk) == length - 2 for chunk in chunks[:-1])


@settings(max_examples=40, deadline=None)
@given(text=TEXT, length=st.integers(8, 40))
def test_chunks_of_sentences_cut_only_what_does_not_fit(minilm, text, length):
    notes = Notes(source="bundled:minilm", chunk_tokens=length, overlap_tokens=0, max_pieces=1000)
    notes.reader.tokenizer = minilm.reader.tokenizer
    whole = minilm.reader.tokenizer(text, add_special_tokens=False)["input_ids"]
    chunks = body(notes, text)
    assert [token for chunk in chunks for token in chunk] == whole
    stop = minilm.reader.tokenizer.convert_tokens_to_ids(".")
    rest_of_cut = False
    for chunk, following in pairwise(chunks):
        if chunk[-1] != stop:
            assert len(chunk) == length - 2, (
                "a sentence was cut although it was not longer than a chunk"
            )
        elif stop in following and not rest_of_cut:
            assert len(chunk) + following.index(stop) + 1 > length - 2, (
                "the next sentence would have fitted"
            )
        rest_of_cut = chunk[-1] != stop


def test_lines_are_sentences_and_a_long_one_is_cut_with_overlap(minilm):
    notes = Notes(source="bundled:minilm", chunk_tokens=12, overlap_tokens=2)
    notes.reader.tokenizer = minilm.reader.tokenizer
    long = body(notes, "one two three four five six seven eight nine ten eleven twelve thirteen")
    assert long[0][-2:] == long[1][:2]
    assert (
        len(
            body(
                notes,
                "Findings:\nno change of the heart size at all\nno effusion of the pleura either",
            )
        )
        == 2
    )


def test_chunks_of_one_note_keep_their_order_and_its_time(minilm):
    pieces = minilm.reader.preprocess(
        replace(ITEM, text="The patient reports a cough and no fever at all. " * 30, hours=7.5)
    )
    assert len(pieces) > 4
    assert pieces.hours.tolist() == [7.5] * len(pieces)


@settings(max_examples=40, deadline=None)
@given(text=TEXT, chunk=st.sampled_from(["sentences", "tokens"]), budget=st.integers(1, 12))
def test_the_first_chunks_of_a_long_note_are_prepared(minilm, text, chunk, budget):
    notes = Notes(source="x", chunk=chunk, chunk_tokens=8, overlap_tokens=2, max_pieces=10_000)
    notes.reader.tokenizer = minilm.reader.tokenizer
    whole = notes.reader.preprocess(replace(ITEM, text=text))
    notes.reader.max_pieces = budget
    cut = notes.reader.preprocess(replace(ITEM, text=text))
    assert len(cut) == min(budget, len(whole))
    assert len(cut) + cut.left_out == len(whole)
    assert torch.equal(
        cut.tensors["attention_mask"].sum(1), whole.tensors["attention_mask"].sum(1)[: len(cut)]
    )
    ids = cut.tensors["input_ids"]
    assert torch.equal(ids, whole.tensors["input_ids"][: len(cut), : ids.shape[1]])


@pytest.mark.parametrize("config", [ROBERTA, T5, MODERN], ids=lambda config: config["model_type"])
def test_any_family_of_encoders_serves(config):
    notes = build(
        source="random", config=config, tokenizer="bundled:minilm", chunk_tokens=32, mode="full"
    )
    short, long = "Fever.", "Fever and a dry cough since Monday, no chest pain."
    torch.testing.assert_close(
        embed(notes, short, long)[:1], embed(notes, short), atol=1e-5, rtol=1e-5
    )
    assert notes.width == 16
    tokens = notes.encode(notes.reader.preprocess(replace(ITEM, text=long)).tensors)
    tokens.square().sum().backward()
    assert [name for name, parameter in notes.named_parameters() if parameter.grad is None] == []


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"chunk_tokens": 600}, "chunk_tokens 600 is more than the encoder's 512"),
        (
            {"chunk_tokens": 10, "overlap_tokens": 8},
            "overlap_tokens 8 leaves nothing new in a chunk of 8",
        ),
        ({"source": "random", "config": ROBERTA}, "tokenizer"),
        ({"source": "random"}, "config"),
    ],
)
def test_settings_that_cannot_work_are_refused(settings, said):
    with pytest.raises(ConfigError, match=said):
        build(**settings)


def test_blank_notes_are_not_claimed_nor_read(minilm):
    table = pl.DataFrame(
        {"code": ["NOTE//A", "NOTE//B", "X", "X"], "text_value": ["fine", " \n", None, "yes"]}
    )
    assert table.select(Notes(source="x").reader.row_filter()).to_series().to_list() == [
        True,
        False,
        False,
        True,
    ]
    assert table.select(
        Notes(source="x", codes=["NOTE//"]).reader.row_filter()
    ).to_series().to_list() == [
        True,
        False,
        False,
        False,
    ]
    for text in (None, " \n"):
        with pytest.raises(DataError, match=r"notes\.parquet row 1: the note is blank"):
            minilm.reader.preprocess(replace(ITEM, text=text))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("\x0b\x1c\r", False),  # the frame of an empty HL7 message
        ("\x1c\x1d\x1e\x1f\x85", False),
        ("\x00", False),
        ("\u200b\u200d\ufeff\u00ad", False),
        ("\u00a0\u2003\u3000\u2028", False),
        ("\ufffd \ufffd", False),
        ("\u0301\u0308", False),  # marks that combine with a letter that is not there
        ("\ufe0f\U000e0101", False),  # selectors of variants
        ("\ue000\U000f0000", False),  # private use
        ("\u3164\uffa0\u115f\u1160", False),  # fillers of Hangul
        ("\u2800", False),  # Braille without dots
        ("e\u0301", True),
        ("\ufffdfever", True),
        ("\ud55c\u3164", True),
        ("\u2801", True),
        ("\x0bfever\x1c\r", True),
        ("\x00?", True),
        ("\u00e9", True),
        ("\u767a\u71b1\u3002", True),
        ("\U0001f912", True),
    ],
)
def test_the_same_notes_are_claimed_and_read(minilm, text, says):
    for notes in (minilm, NativeNotes(source="bundled:minilm")):
        notes.reader.tokenizer = minilm.reader.tokenizer
        assert pl.DataFrame({"text_value": [text]}).select(notes.reader.row_filter()).item() is says
        if says:
            assert len(notes.reader.preprocess(replace(ITEM, text=text)))
        else:
            with pytest.raises(DataError, match="the note is blank"):
                notes.reader.preprocess(replace(ITEM, text=text))


def test_half_of_a_character_is_an_unreadable_note(minilm):
    with pytest.raises(
        DataError, match=r"^notes\.parquet row 1: the note holds half of a character"
    ):
        minilm.reader.preprocess(replace(ITEM, text="fever \ud83e"))


@settings(max_examples=300, deadline=None)
@given(st.text(st.sampled_from("ab.!? \n\t\r\x0b\x85\u00a0\u2028"), max_size=40))
def test_sentences_end_behind_the_spaces_of_a_stop_or_a_line_end(text):
    ends = {
        match.end() for match in re.finditer(r"(?<=[.!?])\s+|\s*\n\s*", text)
    }  # slow, and plain
    assert split_sentences(text) == [
        text[start:stop] for start, stop in pairwise(sorted({0, *ends, len(text)}))
    ]


@pytest.mark.parametrize("space", [" ", "\t", ". ", "\n", " \n"])
def test_a_note_of_a_million_spaces_is_cut_at_once(space):
    text = "fever" + space * 1_000_000 + "cough"
    assert "".join(split_sentences(text)) == text


def test_native_notes_are_the_tokenizers_ids():
    native = NativeNotes(source="bundled:minilm", max_pieces=6)
    native.build({})
    whole = native.reader.tokenizer("a b c d e f g h", add_special_tokens=False)["input_ids"]
    pieces = native.reader.preprocess(replace(ITEM, text="a b c d e f g h"))
    assert pieces.tensors["ids"].tolist() == [*whole[-5:], native.reader.tokenizer.sep_token_id]
    assert pieces.left_out == 3
    assert native.native
    assert not native.cacheable
    short = native.reader.preprocess(replace(ITEM, text="a b"))
    assert short.tensors["ids"].tolist() == [*whole[:2], native.reader.tokenizer.sep_token_id]
    assert short.left_out == 0


def test_fake_notes_depend_on_the_seed(tmp_path: Path):
    assert ChunkReader.fake(tmp_path, 3, 1) == ChunkReader.fake(tmp_path, 3, 1)
    assert [item.text for item in ChunkReader.fake(tmp_path, 3, 1)] != [
        item.text for item in ChunkReader.fake(tmp_path, 3, 2)
    ]
