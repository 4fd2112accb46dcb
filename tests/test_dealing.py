"""What several processes are dealt is together what one would train on, and about the same work for each."""

from itertools import chain

import numpy as np
import pytest
import torch

from hf_kit.collation import TokenRows
from hf_kit.dealing import UNUSED, DealtBatches, DealtCollator, DealtRows, Unused
from hf_kit.sampler import LengthBucketSampler, RowSampler, TokenBudgetBatches

LENGTHS = np.random.default_rng(0).lognormal(3, 0.6, 10_003).astype(int) + 3


def of_each(batches: list[list], processes: int) -> list[list[list]]:
    return [batches[process::processes] for process in range(processes)]


@pytest.mark.parametrize("processes", [2, 3, 4])
def test_every_row_is_dealt_once_and_a_step_has_the_rows_that_one_process_takes(processes):
    sampler = LengthBucketSampler(LENGTHS, 4 * processes, seed=0)
    batches = list(DealtBatches(sampler, 4, processes))
    assert len(batches) == len(DealtBatches(sampler, 4, processes)) and len(batches) % processes == 0
    order = list(sampler)
    for step, turn in enumerate(zip(*of_each(batches, processes), strict=True)):
        together = [row for row in chain.from_iterable(turn) if not isinstance(row, Unused)]
        assert sorted(together) == sorted(order[step * 4 * processes : (step + 1) * 4 * processes])


def test_a_process_that_gets_nothing_of_the_last_rows_takes_one_that_does_not_count():
    batches = list(DealtBatches(RowSampler(9, 0, shuffled=False), 2, 4))
    assert batches[:4] == [[0, 4], [1, 5], [2, 6], [3, 7]]
    assert batches[4:] == [[8], *[[Unused(8)]] * 3]
    rows = DealtRows(TokenRows.__new__(TokenRows))
    rows.dataset = [{"x": i} for i in range(9)]
    collate = DealtCollator(lambda rows: {"x": torch.tensor([row["x"] for row in rows])})
    (row,) = rows.__getitems__([Unused(8)])
    assert set(collate([row])) == {"x", UNUSED} and collate([row])["x"].tolist() == [8]
    assert set(collate([{"x": 1}])) == {"x"}


def test_the_last_rows_are_left_out_where_that_is_asked_for():
    batches = DealtBatches(RowSampler(9, 0, shuffled=False), 2, 4, drop_last=True)
    assert sorted(chain.from_iterable(batches)) == list(range(8)) and len(batches) == 4


@pytest.mark.parametrize("processes", [2, 4])
def test_no_process_waits_for_another_ones_tokens(processes):
    """The padded tokens of the process with the fewest, of those with the most, summed over the steps that wait."""
    dealt = DealtBatches(LengthBucketSampler(LENGTHS, 16 * processes, seed=0), 16, processes)
    budget = TokenBudgetBatches(LENGTHS, 1000, 0, processes)
    for batches in (list(dealt), list(budget)):
        turns = list(zip(*of_each(batches, processes), strict=True))
        tokens = [[len(b) * LENGTHS[[getattr(row, "row", row) for row in b]].max() for b in turn] for turn in turns]
        whole = np.array(tokens[:-1])  # the last step may lack rows
        assert whole.mean(1).sum() / whole.max(1).sum() > 0.95


def test_the_order_follows_from_seed_and_epoch():
    sampler = RowSampler(50, 7, shuffled=True)
    first = list(sampler)
    assert first == list(RowSampler(50, 7, shuffled=True)) != list(RowSampler(50, 8, shuffled=True))
    sampler.set_epoch(1)
    assert list(sampler) != first and sorted(sampler) == list(range(50))
