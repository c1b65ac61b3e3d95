"""The order of the data is a pure function of seed and step."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clintune.core.errors import ConfigError
from clintune.features.batching import sequential_batches
from clintune.training.sampler import BatchSampler

LENGTHS = np.arange(200) % 7 + 1


def order(num, batch_size, micro, seed=0, tokens=None):
    return BatchSampler(
        np.arange(100, 100 + num),
        LENGTHS,
        batch_size=batch_size,
        micro_batch_size=micro,
        micro_batch_tokens=tokens,
        seed=seed,
    )


@settings(deadline=None)
@given(
    st.integers(4, 60), st.integers(4, 20), st.integers(1, 8), st.integers(1, 4), st.integers(0, 30)
)
def test_processes_share_a_step_without_overlap_or_loss(num, batch_size, micro, processes, step):
    made = order(num, batch_size, micro)
    _, rows = made.batch(step)
    draws = made.micro_batches(step, processes)
    assert len(draws) % processes == 0
    assert sorted(row for draw in draws for row in draw.rows) == sorted(rows.tolist())
    assert max(len(draw.rows) for draw in draws) <= max(micro, -(-len(rows) // processes))
    shares = [made.steps(step, step + 1, process, processes)[0] for process in range(processes)]
    assert draws == [shares[i % processes][i // processes] for i in range(len(draws))]


@settings(deadline=None)
@given(
    st.integers(4, 60),
    st.integers(4, 20),
    st.integers(1, 40),
    st.integers(1, 4),
    st.integers(0, 30),
)
def test_micro_batches_keep_to_a_budget_of_tokens(num, size, tokens, many, step):
    made = order(num, size, size, tokens=tokens)
    _, rows = made.batch(step)
    draws = made.micro_batches(step, many)
    assert [row for draw in draws for row in draw.rows] == rows.tolist()
    assert len(draws) % many == 0
    assert min(len(draw.rows) for draw in draws) > 0
    fits = max(LENGTHS[draw.rows].sum() for draw in draws) <= tokens
    assert fits or len(draws) == len(rows) // many * many
    assert np.all(np.diff(LENGTHS[rows]) >= 0)


@settings(deadline=None)
@given(st.integers(4, 60), st.integers(1, 20), st.integers(0, 3))
def test_an_epoch_sees_each_sample_at_most_once(num, batch_size, epoch):
    made = order(num, batch_size, 4)
    steps = range(epoch * made.steps_per_epoch, (epoch + 1) * made.steps_per_epoch)
    rows = np.concatenate([made.batch(step)[1] for step in steps])
    assert len(rows) == len(set(rows.tolist())) > num - min(batch_size, num)
    assert set(rows.tolist()) <= set(range(100, 100 + num))


def test_resuming_at_a_step_gives_what_would_have_come():
    whole = order(40, 8, 4).steps(0, 12, 0, 1)
    rest = order(40, 8, 4).steps(7, 12, 0, 1)
    assert list(whole)[7:] == list(rest)


def test_epochs_and_seeds_differ():
    made = order(40, 40, 40)
    assert made.micro_batches(0, 1)[0].epoch == 0
    assert made.micro_batches(1, 1)[0].epoch == 1
    assert (
        order(40, 8, 4, seed=1).batch(0)[1].tolist() != order(40, 8, 4, seed=2).batch(0)[1].tolist()
    )


def test_fewer_samples_than_processes_are_refused():
    with pytest.raises(ConfigError, match="less than 4 processes"):
        order(3, 8, 4).micro_batches(0, 4)


def test_inference_covers_every_row_once_in_order():
    rows = np.array([5, 3, 9, 1, 7])
    assert [row for draw in sequential_batches(rows, 2) for row in draw.rows] == rows.tolist()
