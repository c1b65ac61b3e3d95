from functools import partial

import polars as pl
import pytest
import torch
from torch import nn

from clintune.contracts import Pieces
from clintune.modalities.base import collate_pieces
from clintune.modalities.imaging import Imaging
from clintune.modalities.notes import Notes
from clintune.modalities.readers import has_code
from clintune.modalities.static import Static


@pytest.mark.parametrize(
    ("codes", "expected"),
    [
        ([], [False, False, False, False]),
        (["LAB"], [True, False, False, False]),
        (["LAB//"], [False, True, True, False]),
        (["LAB//HR", "DRUG"], [False, True, False, True]),
        (["LAB", "LAB//"], [True, True, True, False]),
    ],
)
def test_codes_match_exactly_unless_they_end_in_two_slashes(codes, expected):
    table = pl.DataFrame({"code": ["LAB", "LAB//HR", "LAB//HR//2", "DRUG"]})
    assert table.select(found=has_code(codes))["found"].to_list() == expected


def test_ragged_pieces_are_padded_with_zeros():
    parts = [
        Pieces(tensors={"ids": torch.full((n, length), n)}, hours=torch.zeros(n))
        for n, length in [(1, 4), (2, 2), (1, 3)]
    ]
    assert collate_pieces(parts)["ids"].tolist() == [
        [1, 1, 1, 1],
        [2, 2, 0, 0],
        [2, 2, 0, 0],
        [1, 1, 1, 0],
    ]


@pytest.mark.parametrize(("mode", "trains"), [("frozen", False), ("lora", True), ("full", True)])
def test_train_leaves_frozen_encoders_as_they_are(mode, trains):
    modality = Static(mode=mode)
    modality.encoder = nn.Sequential(nn.Dropout(0.5), nn.BatchNorm2d(3), nn.BatchNorm1d(3))
    modality.train()
    assert [part.training for part in modality.encoder] == [trains, False, False]
    assert modality.eval() is modality
    assert not any(part.training for part in modality.modules())


@pytest.mark.parametrize(
    "make",
    [
        partial(Notes, source="bundled:minilm"),
        partial(Imaging, source="bundled:efficientnet_lite0", size=64),
    ],
)
def test_members_share_a_frozen_encoder_alone(make):
    def build(mode):
        modality = make(mode=mode)
        modality.build({})
        return modality.encoder

    frozen = build("frozen")
    for mode in ("lora", "full"):
        assert build(mode) is not build(mode)
        assert build(mode) is not frozen
    assert build("frozen") is frozen
    assert not any(parameter.requires_grad for parameter in frozen.parameters())
