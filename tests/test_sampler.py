from itertools import chain

import numpy as np
import pytest

from hf_kit.sampler import (
    BLOCK,
    DrawSampler,
    LengthBucketSampler,
    LongestFirstSampler,
    TokenBudgetBatches,
    bucketed_order,
    cuts_by_tokens,
    padding_share,
)

LENGTHS = np.random.default_rng(1).integers(1, 200, size=1003)


def test_the_order_is_a_permutation_with_the_short_batch_last():
    order = bucketed_order(LENGTHS, 32, seed=0, epoch=0)
    assert sorted(order) == list(range(len(LENGTHS)))
    rows = order[: len(order) // 32 * 32].reshape(-1, 32)
    # Each whole batch is nearly of one length; without sorting the spread would be about 190.
    assert np.median([np.ptp(LENGTHS[row]) for row in rows]) < 20


def test_the_order_depends_on_seed_and_epoch_alone():
    np.random.seed(3)
    first = bucketed_order(LENGTHS, 32, seed=5, epoch=2)
    np.random.seed(4)
    assert (first == bucketed_order(LENGTHS, 32, seed=5, epoch=2)).all()
    assert (first != bucketed_order(LENGTHS, 32, seed=5, epoch=3)).any()
    assert (first != bucketed_order(LENGTHS, 32, seed=6, epoch=2)).any()


def test_batch_lengths_do_not_run_in_cycles():
    order = bucketed_order(LENGTHS, 8, seed=0, epoch=0)
    means = LENGTHS[order[:1000]].reshape(-1, 8).mean(1)
    assert abs(np.corrcoef(means[:-1], means[1:])[0, 1]) < 0.3


@pytest.mark.parametrize("rows", [0, 1, 31, 32, 33])
def test_few_rows(rows):
    assert sorted(bucketed_order(LENGTHS[:rows], 32, 0, 0)) == list(range(rows))


def test_padding_share_counts_positions():
    assert padding_share([1, 3, 2, 2], [0, 1, 2, 3], 2) == pytest.approx(2 / 10)
    assert padding_share([1, 3, 2, 2], [0, 1, 2, 3], 1) == 0


def test_bucketing_leaves_little_padding():
    random = np.random.default_rng(0).permutation(len(LENGTHS))
    assert padding_share(LENGTHS, bucketed_order(LENGTHS, 32, 0, 0), 32) < padding_share(LENGTHS, random, 32) / 4


@pytest.mark.parametrize("batches", [BLOCK + 10, 2 * BLOCK + 10])
def test_the_last_batches_are_no_block_of_their_own(batches):
    lengths = np.random.default_rng(2).integers(1, 200, size=8 * batches)
    whole = padding_share(lengths, np.argsort(lengths), 8)
    per_block = batches // BLOCK  # as many blocks, each with about as much more
    assert padding_share(lengths, bucketed_order(lengths, 8, 0, 0), 8) < 1.3 * per_block * whole


def test_sampler_follows_set_epoch():
    sampler = LengthBucketSampler(LENGTHS, 32, seed=0)
    first = list(sampler)
    assert first == list(sampler)
    sampler.set_epoch(1)
    assert first != list(sampler)
    assert len(sampler) == len(first)


def test_longest_first_can_be_undone():
    sampler = LongestFirstSampler(LENGTHS)
    order = list(sampler)
    assert (np.diff(LENGTHS[order]) <= 0).all()
    assert (np.asarray(order)[np.argsort(sampler.order)] == np.arange(len(LENGTHS))).all()


def test_a_batch_holds_as_many_rows_as_its_longest_leaves_room_for():
    lengths = -np.sort(-np.random.default_rng(0).integers(0, 600, 500))
    parts = list(cuts_by_tokens(lengths, 512))
    assert np.concatenate([lengths[part] for part in parts]).tolist() == lengths.tolist()
    sizes = [len(lengths[part]) for part in parts]
    assert all(size == 1 or size * lengths[part.start] <= 512 for size, part in zip(sizes, parts, strict=True))
    assert sizes[0] == 1 and max(sizes) > 10


def test_token_budgets_give_every_row_once_and_the_same_sizes_in_every_epoch():
    batches = TokenBudgetBatches(LENGTHS, 2000, seed=0)
    epochs = []
    for epoch in (0, 1):
        batches.set_epoch(epoch)
        epochs.append(list(batches))
        assert sorted(chain.from_iterable(epochs[-1])) == list(range(len(LENGTHS)))
        assert len(epochs[-1]) == len(batches)
        assert all(LENGTHS[rows].max() * len(rows) <= 2000 for rows in epochs[-1])
    assert epochs[0] != epochs[1]
    assert sorted(map(len, epochs[0])) == sorted(map(len, epochs[1]))
    assert max(map(len, epochs[0])) > 4 * min(map(len, epochs[0]))
    sizes = np.array([len(rows) for rows in epochs[0]])
    assert abs(np.corrcoef(sizes[:-1], sizes[1:])[0, 1]) < 0.3  # not from long to short


# Sentences of a few English and Chinese tokens: alike, but not the same.
SHORT = np.random.default_rng(1).integers(3, 20, 4000)
BOTH = np.stack([SHORT, np.maximum(1, SHORT + np.random.default_rng(2).integers(-4, 5, 4000))], axis=1)


def waste(batches: list) -> float:
    """The share of padding where each side of a batch is as long as its longest."""
    positions = sum(len(rows) * BOTH[rows].max(0).sum() for rows in batches)
    return 1 - BOTH.sum() / positions


def test_both_sides_of_pairs_are_of_nearly_equal_length():
    for epoch in (0, 1):
        order = bucketed_order(BOTH, 16, seed=0, epoch=epoch)
        assert sorted(order) == list(range(len(BOTH)))
    cut = [order[i : i + 16] for i in range(0, len(order), 16)]
    by_sum = bucketed_order(BOTH.sum(1), 16, seed=0, epoch=1)
    assert waste(cut) < 0.7 * waste([by_sum[i : i + 16] for i in range(0, len(by_sum), 16)])
    assert padding_share(BOTH, order, 16) == pytest.approx(waste(cut))


def test_a_token_budget_counts_both_sides():
    batches = TokenBudgetBatches(BOTH, 2000, seed=0, multiple=3)
    sizes = []
    for epoch in (0, 1):
        batches.set_epoch(epoch)
        found = list(batches)
        assert sorted(chain.from_iterable(found)) == list(range(len(BOTH)))
        assert all(len(rows) * BOTH[rows].max(0).sum() <= 2000 for rows in found)
        sizes.append(sorted(map(len, found)))
    assert sizes[0] == sizes[1] and len(found) % 3 == 0
    assert waste(found) < waste(list(TokenBudgetBatches(BOTH.sum(1), 2000, seed=0)))


def test_the_longest_pairs_are_evaluated_first():
    order = LongestFirstSampler(BOTH).order
    assert sorted(order) == list(range(len(BOTH)))
    assert (np.diff(BOTH[order][:, 0]) <= 0).all()
    assert [list(BOTH[i]) for i in order] == sorted(BOTH.tolist(), reverse=True)


def test_processes_get_equally_many_batches():
    for processes in (2, 3, 7):
        batches = TokenBudgetBatches(LENGTHS, 2000, seed=0, multiple=processes)
        assert len(batches) % processes == 0
        assert sorted(chain.from_iterable(batches)) == list(range(len(LENGTHS)))


def test_draws_name_seed_epoch_and_row_in_an_order_of_their_own():
    sampler = DrawSampler(50, 7, shuffled=True)
    first = list(sampler)
    assert list(sampler) == first and {(draw.seed, draw.epoch) for draw in first} == {(7, 0)}
    sampler.set_epoch(1)
    second = list(sampler)
    assert {draw.epoch for draw in second} == {1}
    rows, again = [draw.row for draw in first], [draw.row for draw in second]
    assert sorted(rows) == sorted(again) == list(range(50)) and rows != again != list(range(50))
    assert [draw.row for draw in DrawSampler(5, 7, shuffled=False)] == list(range(5))
