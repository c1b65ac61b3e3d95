"""Draws are functions of their names."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from clintune.core.seeding import derive_seed, generator, seeded

PARTS = st.lists(st.one_of(st.integers(), st.text(max_size=5)), min_size=1, max_size=4)


@given(PARTS, PARTS)
def test_seeds_depend_on_every_part(a, b):
    assert 0 <= derive_seed(*a) < 2**63
    if [str(part) for part in a] != [str(part) for part in b] and not any(
        "\x1f" in str(p) for p in a + b
    ):
        assert derive_seed(*a) != derive_seed(*b)


def test_a_seeded_block_leaves_the_global_state_alone():
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    with seeded(1, "x"):
        first = torch.rand(3)
    assert torch.equal(torch.rand(3), expected)
    with seeded(1, "x"):
        assert torch.equal(torch.rand(3), first)
    assert torch.equal(torch.rand(3, generator=generator(1, "x")), first)
