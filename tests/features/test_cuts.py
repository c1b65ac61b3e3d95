"""Parts of items that go on after prediction times, against a plain reckoning."""

from types import SimpleNamespace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from clintune.cohort.index import VisibleItems
from clintune.contracts import Extent
from clintune.features.cuts import Cuts

HOURS = st.integers(0, 6).map(float)


@given(st.data())
def test_each_item_cut_at_a_moment_has_a_part_of_its_own(data):
    num_items = data.draw(st.integers(1, 6))
    extents = {
        number: Extent(*sorted(data.draw(st.tuples(HOURS, HOURS))))
        for number in data.draw(st.sets(st.integers(0, num_items - 1)))
    }
    pairs = data.draw(
        st.lists(st.tuples(st.integers(0, num_items - 1), HOURS), min_size=1, max_size=20)
    )
    number, hours = (np.array(column) for column in zip(*sorted(set(pairs)), strict=True))
    moments = SimpleNamespace(number=number.astype(np.int64), hours=hours.astype(np.float64))
    samples = SimpleNamespace(num_rows=lambda modality: num_items)
    cuts = Cuts.of(SimpleNamespace(samples=samples, modality="m", moments=lambda: moments), extents)

    asked = np.array([pair[0] for pair in pairs]), np.array([pair[1] for pair in pairs])
    seen = VisibleItems(*asked, np.zeros(len(pairs), np.int64))
    found = cuts.select(seen).number.tolist()
    cut = [pair for pair in sorted(set(pairs)) if extents.get(pair[0], Extent(0, 0)).end > pair[1]]
    assert list(zip(cuts.number.tolist(), cuts.hours.tolist(), strict=True)) == cut
    assert found == [num_items + cut.index(pair) if pair in cut else pair[0] for pair in pairs]

    beyond, whole, last = cuts.beyond(seen)
    for place, (item, moment) in enumerate(pairs):
        begin, end = extents.get(item, Extent(0, 0))
        assert (whole[place], last[place]) == (end - begin, end)
        assert beyond[place] == sum(hour >= moment for hour in np.arange(begin, end))


def test_a_part_that_nobody_asked_for_has_a_place_of_its_own():
    cuts = Cuts(np.array([0]), np.array([1.0]), np.zeros(2), np.array([5.0, 0.0]))
    seen = VisibleItems(np.array([0, 0, 1]), np.array([1.0, 2.0, 1.0]), np.zeros(3, np.int64))
    assert cuts.select(seen).number.tolist() == [2, 3, 1]
