"""A reader or encoder that returns something wrong is named, with what it should return."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from clintune.contracts import PieceBatch, Pieces
from clintune.core.errors import ConfigError
from clintune.features.columnar import ColumnarPieces
from clintune.modalities.promises import (
    check_encoded,
    check_num_pieces,
    check_piece_batch,
    check_pieces,
    check_statistics,
)
from clintune.modalities.static import FactReader, Static
from helpers.opened_samples import open_samples

READER = FactReader(max_pieces=2)
OWNERS = np.array([0, 0, 2, 5])
GOOD = PieceBatch(
    tensors={"x": torch.zeros(3, 4)},
    hours=torch.tensor([9.0, 1.0, 0.0]),
    owner=torch.tensor([0, 0, 2]),
)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"owner": torch.tensor([2, 0, 0])}, "whose `owner` is out of order"),
        ({"owner": torch.tensor([0, 0, 3])}, "of a sample that has no row"),
        ({"owner": torch.tensor([0, 0, 0])}, "more than 2 pieces of a sample"),
        ({"owner": torch.tensor([0, 0, 2], dtype=torch.int32)}, "`owner` as torch.int32"),
        ({"owner": torch.tensor([0, 2])}, "2 of `owner` and 3 of `hours`"),
        ({"hours": torch.tensor([[9.0], [1.0], [0.0]])}, r"`hours` as torch.float32 of shape \(3"),
        ({"hours": torch.tensor([9.0, -1.0, 0.0])}, "`hours` below 0"),
        ({"hours": torch.tensor([9.0, float("nan"), 0.0])}, "`hours` below 0, or NaN"),
        ({"tensors": {"x": torch.zeros(2, 4)}}, "2 of `x` and 3 of `hours`"),
    ],
)
def test_wrong_pieces_of_rows_name_their_reader(changes, said):
    check_piece_batch(READER, GOOD, OWNERS, 2)
    with pytest.raises(ConfigError, match=f"static.FactReader.preprocess_rows .*{said}"):
        check_piece_batch(READER, replace(GOOD, **changes), OWNERS, 2)


def test_what_is_of_another_type_is_named():
    with pytest.raises(ConfigError, match="preprocess_rows returns nothing, not a PieceBatch"):
        check_piece_batch(READER, None, OWNERS, 2)
    with pytest.raises(ConfigError, match="preprocess returns a dict, not Pieces"):
        check_pieces(READER, {})
    with pytest.raises(ConfigError, match="fit returns nothing, not a dict"):
        check_statistics(READER, None)
    with pytest.raises(ConfigError, match="fit returns what JSON cannot hold"):
        check_statistics(READER, {"mean": np.zeros(3)})
    with pytest.raises(ConfigError, match=r"num_pieces returns the shape \(2,\), not \[N\] = \(3,"):
        check_num_pieces(READER, np.zeros(2), 3)


def test_tokens_of_another_shape_are_named():
    check_encoded(Static(), torch.zeros(3, 1, 64), 3, (1, 64))
    for wrong in (torch.zeros(3, 64), torch.zeros(3, 1, 32), torch.zeros(2, 1, 64), None):
        with pytest.raises(ConfigError, match=r"Static.encode returns .* not \[P, tokens_per_pie"):
            check_encoded(Static(), wrong, 3, (1, 64))


def test_a_whole_file_may_go_on_after_its_row():
    check_pieces(READER, Pieces(tensors={}, hours=torch.tensor([-48.0])), least=-np.inf)
    with pytest.raises(ConfigError, match="hours"):
        check_pieces(READER, Pieces(tensors={}, hours=torch.tensor([np.nan])), least=-np.inf)


def test_hours_may_be_off_by_rounding_alone():
    check_pieces(READER, Pieces(tensors={}, hours=torch.tensor([-1e-4])))
    with pytest.raises(ConfigError, match="hours"):
        check_pieces(READER, Pieces(tensors={}, hours=torch.tensor([-0.5])))


class Flipped(FactReader):
    def preprocess_rows(self, rows):
        made = super().preprocess_rows(rows)
        return replace(made, owner=made.owner.flip(0))


def test_pieces_for_other_patients_stop_a_batch(cohort, tmp_path):
    modality = Static(codes=["AGE"])
    samples = open_samples([cohort], {"static": modality}, tmp_path)
    reader = Flipped(max_pieces=32, codes=["AGE"])
    reader.open({"codes": {}})
    pieces = ColumnarPieces(samples, "static", reader.numbered(samples.codes().to_list()))
    seen = samples.seen("static", np.arange(8))
    with pytest.raises(ConfigError, match=r"Flipped\.preprocess_rows .* out of order"):
        pieces.read(pieces.select(seen), np.zeros(8, int), 32)
