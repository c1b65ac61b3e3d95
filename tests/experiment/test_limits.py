"""What budgets and modalities leave out is counted right, and told without counts under 11."""

import re
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clintune.cohort.index import VisibleItems
from clintune.experiment.limits import Limits, Part, measure, read_limits, write_limits
from clintune.features.cuts import hours_beyond


class Made:
    """Samples that see items of given lengths, of which a source reads those that are `kept`."""

    tasks = ("y",)

    def __init__(self, items):
        self.items = items

    def seen(self, name, rows):
        pairs = [
            (n, owner) for owner, row in enumerate(rows.tolist()) for n in self.items[name][row]
        ]
        number, owner = (np.array([pair[i] for pair in pairs], np.int64) for i in range(2))
        return VisibleItems(number, np.zeros(len(number)), owner)


class Source:
    def __init__(self, lengths, kept, left_out, ends):
        self.all, self.kept, self.more = np.array([*lengths, 0]), kept, np.array([*left_out, 0])
        self.ends = np.array([*ends, 0.0])

    def select(self, seen):
        return seen.take(np.isin(seen.number, list(self.kept)))

    def lengths(self, number, view):
        return self.all[number]

    def num_pieces(self, seen, num_samples):
        lengths = self.all[seen.number].clip(min=0)
        return np.bincount(seen.owner, lengths, minlength=num_samples).astype(int)

    def left_out(self, number):
        return self.more[number]

    def beyond(self, seen):
        ends = self.ends[seen.number]
        return hours_beyond(np.zeros(len(ends)), ends, seen.hours)


@settings(deadline=None)
@given(st.data())
def test_counts_are_those_of_a_plain_reckoning(data):
    lengths = data.draw(st.lists(st.integers(-1, 9), min_size=1, max_size=20))
    hours = st.sampled_from([-9000.0, -721.0, -720.0, -2.0, 0.0, 1.0, 3.0])
    ends = data.draw(st.lists(hours, min_size=len(lengths), max_size=len(lengths)))
    left_out = data.draw(st.lists(st.integers(0, 3), min_size=len(lengths), max_size=len(lengths)))
    kept = data.draw(st.sets(st.integers(0, len(lengths) - 1)))
    sample = st.lists(st.integers(0, len(lengths) - 1), max_size=6, unique=True)
    per_sample = data.draw(st.lists(sample, min_size=1, max_size=12))
    budget, limit = data.draw(st.integers(1, 12)), data.draw(st.integers(1, 30))
    modality = SimpleNamespace(
        reader=SimpleNamespace(max_pieces=budget, sums_up=False),
        num_tokens=lambda pieces: 2 * np.minimum(pieces, budget),
    )
    rows = np.arange(len(per_sample))
    found = measure(
        Made({"m": per_sample}),
        rows,
        {"m": modality},
        {"m": Source(lengths, kept, left_out, ends)},
        limit,
    )

    read = [[max(lengths[n], 0) + left_out[n] for n in items if n in kept] for items in per_sample]
    pieces = [sum(part) for part in read]
    tokens = [1 + 2 * min(number, budget) for number in pieces]
    assert found.parts["m"] == Part(
        budget,
        samples=len(rows),
        lacking=sum(not items for items in per_sample),
        samples_with_older=sum(
            len(items) > len(part) for items, part in zip(per_sample, read, strict=True)
        ),
        items=sum(map(len, per_sample)),
        older=sum(map(len, per_sample)) - sum(map(len, read)),
        samples_cut=sum(number > budget for number in pieces),
        pieces=sum(pieces),
        pieces_cut=sum(max(number - budget, 0) for number in pieces),
        samples_going_on=sum(any(ends[n] > 0 for n in items) for items in per_sample),
        samples_long_before=sum(any(ends[n] < -720 for n in items) for items in per_sample),
        hours=sum(ends[n] for items in per_sample for n in items),
        hours_beyond=sum(max(ends[n], 0) for items in per_sample for n in items),
    )
    assert found.without_anything == pieces.count(0)
    assert (found.tokens, found.tokens_cut) == (sum(tokens), sum(max(t - limit, 0) for t in tokens))
    assert found.samples_cut == sum(t > limit for t in tokens)


def test_each_kind_of_loss_is_one_sentence(tmp_path):
    notes = Part(16, samples=1000, lacking=120, samples_cut=330, pieces=10_000, pieces_cut=1_800)
    static = Part(32, samples=1000, samples_with_older=710, items=9_000, older=6_300)
    monitor = Part(14, samples=1000, samples_going_on=200, hours=4_000, hours_beyond=600)
    watch = Part(14, samples=1000, samples_long_before=300)
    events = Part(511, sums_up=True, samples=1000, samples_cut=400, pieces=10_000, pieces_cut=2_000)
    parts = {"notes": notes, "static": static, "monitor": monitor, "watch": watch, "events": events}
    limits = Limits(parts, 512, 1000, 50, 200, 100_000, 5_000, warnings=["beware"])

    assert limits.sentences() == [
        "notes: 12 % of the samples have none",
        "notes: 33 % of the samples lose their oldest pieces (max_pieces 16): 18 % of all pieces",
        "static: 71 % of the samples have older rows of a code, which are not read "
        "(the newest alone is): 70 % of all rows",
        "monitor: 20 % of the samples have recordings that go on after the prediction time, and "
        "are cut there: 15 % of all hours",
        "watch: 30 % of the samples have recordings that end more than a month before the time "
        "of their row; look whether the clocks of the devices were right",
        "events: 40 % of the samples read their oldest pieces as one token (max_pieces 511): "
        "20 % of all pieces",
        "all modalities: 20 % of the samples lose their oldest tokens (backbone.max_tokens 512): "
        "5 % of all tokens",
        "5 % of the samples have nothing that can be read",
        "beware",
    ]
    assert write_limits(tmp_path, limits)
    assert not write_limits(tmp_path, Limits({}, 1))
    assert read_limits(tmp_path) == {
        "sentences": limits.sentences(),
        "lacking": {"notes": 0.12, "static": 0.0, "monitor": 0.0, "watch": 0.0, "events": 0.0},
    }


@pytest.mark.parametrize("lacking", [*range(1, 11), *range(30, 40)])
def test_no_count_under_11_follows(tmp_path, lacking):
    limits = Limits({"notes": Part(16, samples=40, lacking=lacking)}, 512, samples=40)
    (said,) = limits.sentences()
    assert not re.search(r"\d %", said)
    write_limits(tmp_path, limits)
    assert read_limits(tmp_path)["lacking"]["notes"] in (0, 1)
