"""Train, validation and test as a run uses them: what is missing is taken from the training rows.

Rows of the same input (a text, an image) stay together, so that no part scores what another one trained on. Each
input's place follows from its key, a hash: the same rows are split the same way in any order, on any machine.
Deliberately different from scikit-learn's `train_test_split(stratify=...)`: that may leave a rare class out of a part.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from datasets import Dataset

from hf_kit.data import leaks
from hf_kit.data.arrow_columns import column_array
from hf_kit.data.labels import ENCODED, MULTI, SINGLE, LabelMapping
from hf_kit.data.loading import RawSplits
from hf_kit.data.streamed_rows import StreamedRows
from hf_kit.errors import UserError

MOST_BINS = 10  # regression is stratified by quantiles


@dataclass
class Splits:
    """The splits of a run.

    Attributes:
        keys: of each split that there is, [n] numbers that are equal where rows have the same input.
        notes: sentences for the user.
    """

    train: Dataset | StreamedRows
    validation: Dataset | None
    test: Dataset | None
    keys: dict[str, np.ndarray]
    notes: list[str]

    def keep_some(self, name: str, most: int | None) -> None:
        """Cut a split to a trial's rows, drawn evenly: files are often sorted. A stream's stay in their order."""
        dataset = getattr(self, name)
        if most is None or most >= len(dataset):
            return
        if isinstance(dataset, StreamedRows):
            kept = dataset.keep(dataset.evenly(most))
            self.keys[name] = kept.keys
        else:
            rows = np.random.default_rng(0).permutation(len(dataset))[:most]
            kept = dataset.select(rows)
            self.keys[name] = self.keys[name][rows]
        setattr(self, name, kept)


def make_splits(
    raw: RawSplits,
    keys: Mapping[str, np.ndarray],
    mapping: LabelMapping | None,
    validation_split_percentage: int = 10,
    test_split_percentage: int = 10,
    drop_leaks: bool = False,
    noun: str = "text",
) -> Splits:
    """Keep the splits there are; take a missing validation set, and a missing test set with it, from train.

    `raw` holds encoded labels (`encode_labels`): the mapping is decided from all training rows before they are split.
    A given validation or test set is never split nor trained on; with a validation set of its own no test set is made.
    Inputs of a given test set stay in train as far as a class has others, so that they do not choose the model as well.
    Percentages are of the different inputs; 0 means that none is made. Stratified by label, for several labels by the
    rarest one of a row, for regression by quantile. Single label: each class has at least one input in each part.
    `drop_leaks` leaves out the training rows whose input is also in a given validation or test set.

    Args:
        mapping: None where rows have no labels to stratify by.
        keys: of each split of `raw`, [n] numbers that are equal where rows have the same input (`text_keys`, say).
        noun: what one input is called in messages.

    Raises:
        UserError: percentages out of range, a class with too few different inputs, or one that `drop_leaks` takes
            whole.
    """
    if raw.validation is not None:
        shares = {}
    elif raw.test is not None:
        shares = {"validation": validation_split_percentage}
    else:
        shares = {"validation": validation_split_percentage, "test": test_split_percentage}
    _check_percentages(shares)
    shares = {part: percentage / 100 for part, percentage in shares.items() if percentage}

    made = {"train": raw.train, "validation": raw.validation, "test": raw.test}
    keys, notes = dict(keys), []
    if drop_leaks:
        # Before a validation set is made, so that the rows that choose the model are none of the test's either.
        made["train"], keys, note = leaks.drop_leaks(raw.train, keys, mapping, noun)
        notes.append(note)
    if shares:
        whole, whole_keys = made["train"], keys["train"]
        in_test = np.isin(whole_keys, keys.get("test", []))  # [n]
        places = _place_inputs(whole_keys, _strata(whole, mapping), shares, mapping, in_test, noun)  # [n] 0: train
        parts = ("train", *shares)
        if isinstance(whole, StreamedRows):
            made |= zip(parts, whole.take_apart(places, len(parts)), strict=True)
        else:
            made |= {part: whole.select(np.flatnonzero(places == i)) for i, part in enumerate(parts)}
        keys |= {part: whole_keys[places == i] for i, part in enumerate(parts)}
        sizes = " and ".join(f"{part} ({len(made[part]):,} rows)" for part in shares)
        how = ", by label" if mapping else ""
        notes.append(f"{sizes} taken from the {len(whole):,} training rows{how}; same {noun}s stay together")
    if made["validation"] is None:
        notes.append("no validation rows: nothing chooses among the epochs, and the last model is kept")
    elif made["test"] is None:
        notes.append(
            "no test rows: the validation rows choose the best model, so their score flatters it; --test_file gives "
            "rows for a final score"
        )
    return Splits(made["train"], made["validation"], made["test"], keys, notes)


def _check_percentages(percentages: Mapping[str, int]) -> None:
    for part, percentage in percentages.items():
        if not 0 <= percentage <= 90:
            raise UserError(f"--{part}_split_percentage is {percentage}; it must be from 0 (none is made) to 90")
    if sum(percentages.values()) > 90:
        flags = " and ".join(f"--{part}_split_percentage" for part in percentages)
        raise UserError(f"{flags} are {sum(percentages.values())} together; at least 10 must be left to train on")


def _strata(dataset: Dataset | StreamedRows, mapping: LabelMapping | None) -> np.ndarray:
    """[n] the stratum of each row; rows without any label are one of their own."""
    if mapping is None:
        return np.zeros(len(dataset), dtype=np.int64)
    streamed = isinstance(dataset, StreamedRows)
    if mapping.problem_type == MULTI:
        if streamed:
            sums = np.asarray(dataset.labels.sum(0)).ravel()  # [c]
            return np.concatenate([_rarest(hot, sums, len(dataset)) for hot in dataset.hot_chunks()])
        values = column_array(dataset, ENCODED)
        hot = values.flatten().to_numpy().reshape(len(dataset), mapping.num_labels) > 0  # [n, c]
        return _rarest(hot, hot.sum(0), len(dataset))
    numbers = dataset.labels if streamed else column_array(dataset, ENCODED).to_numpy()
    if mapping.problem_type == SINGLE:
        return numbers
    bins = int(np.clip(len(numbers) // 20, 1, MOST_BINS))
    return np.searchsorted(np.unique(np.quantile(numbers, np.arange(1, bins) / bins)), numbers)


def _rarest(hot: np.ndarray, sums: np.ndarray, rows: int) -> np.ndarray:
    """[m] of `hot` [m, c] the label of each row that is rarest by `sums` [c] among all `rows`; c for none."""
    rarity = np.where(hot, sums, rows + 1)  # [m, c]
    return np.where(hot.any(1), rarity.argmin(1), hot.shape[1])


def _place_inputs(
    keys: np.ndarray,
    strata: np.ndarray,
    shares: Mapping[str, float],
    mapping: LabelMapping | None,
    last: np.ndarray,
    noun: str,
) -> np.ndarray:
    """[n] 0 for train, 1 and on for the parts of `shares`.

    An input whose rows differ in stratum counts for the rarest of them. Every stratum keeps one in train. Rows where
    `last` ([n] bool) leave train only where a stratum has no others.
    """
    sizes = np.bincount(strata)
    by_size = np.argsort(sizes, kind="stable")
    rank = np.argsort(by_size, kind="stable")  # stratum to its place from the rarest
    inputs, input_of_row = np.unique(keys, return_inverse=True)  # sorted by hash: in an order that is as good as random
    rank_of_input = np.full(len(inputs), len(sizes))
    np.minimum.at(rank_of_input, input_of_row, rank[strata])
    own_inputs = np.bincount(rank_of_input, minlength=len(sizes))[rank]  # [strata]
    single = mapping is not None and mapping.problem_type == SINGLE
    if single:
        for stratum in np.unique(strata):
            if own_inputs[stratum] <= len(shares):
                raise UserError(_too_few(mapping.names[stratum], own_inputs[stratum], shares, noun))
    counts = _counts(own_inputs, list(shares.values()), least=int(single))  # [parts, strata]
    place, is_last = np.zeros(len(inputs), dtype=np.int64), np.zeros(len(inputs), dtype=bool)
    is_last[input_of_row[last]] = True
    for stratum in np.unique(strata):
        own = np.flatnonzero(rank_of_input == rank[stratum])
        own = own[np.argsort(is_last[own], kind="stable")]
        places = np.repeat(np.arange(1, len(shares) + 1), counts[:, stratum])
        place[own[: len(places)]] = places
    if not np.isin(np.arange(len(shares) + 1), place).all():
        raise UserError(_too_few(None, len(inputs), shares, noun))
    return place[input_of_row]


def _counts(sizes: np.ndarray, shares: list[float], least: int) -> np.ndarray:
    """[parts, strata] how many inputs of each stratum go to each part.

    The running total is rounded, not each stratum, so that many small strata still add up to the share. Each part has
    `least` of every stratum, and train keeps one.
    """
    totals = np.rint(np.cumsum(sizes) * np.array(shares)[:, None])  # [parts, strata]
    counts = np.maximum(np.diff(totals, prepend=0), np.minimum(least, sizes)).astype(np.int64)
    for stratum in np.flatnonzero(sizes):
        while counts[:, stratum].sum() >= sizes[stratum]:
            counts[counts[:, stratum].argmax(), stratum] -= 1
    return counts


def _too_few(name: str | None, inputs: int, shares: Mapping[str, float], noun: str) -> str:
    whose = "there are" if name is None else f"class `{name}` has"
    flags = " and ".join(f"--{part}_split_percentage 0" for part in shares)
    needed = len(shares) + 1
    return (
        f"{whose} {inputs} different {noun}{'s' if inputs != 1 else ''} to train on, and {' and '.join(shares)} rows "
        f"are to be taken from them, which needs at least {needed}. Add rows, give "
        f"{' and '.join(f'--{part}_file' for part in shares)}, or make none with {flags}"
    )
