"""The training rows of a run that never holds them as a whole: what `datasets.Dataset` is to the others.

One pass over the rows (`scan`) keeps some 20 bytes of each (a key of its text, its label; while splits are made a few
times as much; of numbers to predict every different value) and finds what the readers of whole data sets find: the same
mapping, the same errors with the same rows. All else reads them anew.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from datasets import Dataset, are_progress_bars_disabled
from scipy.sparse import csr_matrix
from tqdm.auto import tqdm

from hf_kit.console import is_main_process
from hf_kit.data.arrow_columns import column_array, content_of
from hf_kit.data.columns import TextColumns, check_text_kind, check_texts, empty_texts, refuse_missing
from hf_kit.data.label_values import LabelValues, check_label_kind, join, read_labels
from hf_kit.data.labels import ENCODED, MULTI, REGRESSION, LabelMapping, label_ids, with_labels
from hf_kit.data.row_stream import RowStream, State, in_memory
from hf_kit.data.text_keys import text_keys
from hf_kit.errors import UserError


@dataclass
class Scan:
    """What one pass over `n` training rows found.

    Attributes:
        labels: as `read_labels` gives them for rows in memory.
        keys: [n] `text_keys`.
        empty: [n] True where a row has no text.
        digest: sha256 over the contents of the rows, 64 hex digits.
    """

    labels: LabelValues
    keys: np.ndarray
    empty: np.ndarray
    digest: str


def scan(source: RowStream, columns: TextColumns) -> Scan:
    """Read all rows once, with a count on the screen.

    Raises:
        UserError: as `check_texts` and `read_labels` do for rows in memory; no rows at all.
    """
    names = [name for name in (columns.text, columns.text_pair) if name is not None]
    for name in names:
        if not pa.types.is_null(source.features.arrow_schema.field(name).type):
            check_text_kind(source, name, "train")
    check_label_kind(source, columns.label, "train")
    gaps: dict[str, list[np.ndarray]] = {name: [] for name in names}
    keys, empty, total = [], [], hashlib.sha256()

    def read() -> Iterator[LabelValues]:
        hidden = not is_main_process() or are_progress_bars_disabled()
        with tqdm(desc="reading the training rows", unit=" rows", disable=hidden) as bar:
            for chunk in source.chunks():
                missing = [column_array(chunk, name).is_null().to_numpy(zero_copy_only=False) for name in names]
                for name, rows in zip(names, missing, strict=True):
                    gaps[name].append(rows)
                if not any(rows.any() for rows in missing):
                    checked = check_texts(chunk, columns, "train")
                    keys.append(text_keys(checked, columns))
                    empty.append(empty_texts(checked, columns))
                total.update(content_of(chunk.data.table))
                bar.update(len(chunk))
                yield read_labels(chunk, columns.label, "train")
        for name, found in gaps.items():
            if not found:
                raise UserError("the training split has no rows")
            refuse_missing(np.concatenate(found), name, "train")

    labels = join(read())
    return Scan(labels, np.concatenate(keys), np.concatenate(empty), total.hexdigest())


class StreamedRows:
    """Training rows in the order of their source, read anew for every use, with the column `labels` of the mapping.

    Attributes:
        columns: of the texts and the label.
        labels: [n] label ids, [n] numbers, or for several labels a sparse [n, c] of 0 and 1.
        keys: [n] `text_keys`.
        empty: [n] True where a row has no text.
        digest: stands for the contents of all rows of the source.
        buffer_size: how many rows may be held in memory at once.
    """

    def __init__(self, source: RowStream, scanned: Scan, columns: TextColumns, mapping: LabelMapping, buffer_size: int):
        self.columns = columns
        self.labels = _encoded(scanned.labels, columns.label, mapping)
        self.keys = scanned.keys
        self.empty = scanned.empty
        self.digest = scanned.digest
        self.buffer_size = buffer_size
        self._source = source
        self._mapping = mapping
        self._kept = np.ones(len(scanned.keys), dtype=bool)  # [rows of the source]

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def column_names(self) -> list[str]:
        return [*(name for name in self._source.column_names if name != ENCODED), ENCODED]

    def chunks(self) -> Iterator[Dataset]:
        """The rows in their order, as small data sets in memory."""
        for chunk, _ in self.chunks_from(None):
            yield chunk

    def chunks_from(self, state: State) -> Iterator[tuple[Dataset, State]]:
        """The rows after `state` (None: all), as small data sets, each with the state after it.

        Raises:
            UserError: the source has another number of rows than it had.
        """
        start, inner = state or (0, None)
        for table, after in self._source.tables(inner):
            chunk = in_memory(table, self._source.features)
            kept = np.flatnonzero(self._kept[start : start + len(chunk)])
            start += len(chunk)
            if len(kept):
                part = chunk if len(kept) == len(chunk) else in_memory(chunk.data.table.take(kept), chunk.features)
                part = check_texts(part, self.columns, "train")
                values = read_labels(part, self.columns.label, "train")
                yield with_labels(part, values, self.columns.label, self._mapping, "train"), [start, after]
        if start != len(self._kept):
            raise UserError(
                f"the training rows changed while they were read: {len(self._kept):,} at first, now {start:,}; start "
                "again, and leave the files alone until the run is finished"
            )

    def texts(self) -> "Texts":
        return Texts(self)

    def take_apart(self, places: np.ndarray, parts: int) -> "list[StreamedRows | Dataset]":
        """The rows at which `places` ([n]) is 0 as a stream, and those of 1, 2 ... `parts` - 1 in memory, each."""
        found: list[list[pa.Table]] = [[] for _ in range(parts - 1)]
        start = 0
        for chunk in self.chunks():
            here = places[start : start + len(chunk)]
            start += len(chunk)
            for part in np.unique(here[here > 0]):
                found[part - 1].append(chunk.data.table.take(np.flatnonzero(here == part)))
            features = chunk.features
        return [self.keep(places == 0), *(in_memory(pa.concat_tables(tables), features) for tables in found)]

    def keep(self, chosen: np.ndarray) -> "StreamedRows":
        """The rows at which `chosen` ([n] bool) is true, as a stream."""
        out = object.__new__(StreamedRows)
        out.__dict__ |= self.__dict__
        out._kept = self._kept.copy()
        out._kept[self._kept] = chosen
        out.labels, out.keys, out.empty = self.labels[chosen], self.keys[chosen], self.empty[chosen]
        return out

    def evenly(self, most: int) -> np.ndarray:
        """[n] bool: at most `most` rows drawn evenly from all; files are often sorted by class."""
        chosen = np.zeros(len(self), dtype=bool)
        chosen[np.random.default_rng(0).permutation(len(self))[:most]] = True
        return chosen

    def sample(self) -> Dataset:
        """All rows where the buffer takes them, else `buffer_size` of them, drawn evenly; in memory."""
        return self.take_apart(self.evenly(self.buffer_size).astype(np.int64), 2)[1]

    def hot_chunks(self) -> Iterator[np.ndarray]:
        """`labels` of several labels a row, some rows at a time: [m, c] bool."""
        for start in range(0, len(self), 10_000):
            yield self.labels[start : start + 10_000].toarray() > 0


class Texts(Iterable[str]):
    """The texts of streamed rows, and after them their second texts; every iteration reads them anew."""

    def __init__(self, rows: StreamedRows):
        self._rows = rows
        self._columns: Sequence[str] = [c for c in (rows.columns.text, rows.columns.text_pair) if c]

    def __len__(self) -> int:
        return len(self._rows) * len(self._columns)

    def __iter__(self) -> Iterator[str]:
        for column in self._columns:
            for chunk in self._rows.chunks():
                yield from chunk[column][:]


def _encoded(labels: LabelValues, column: str, mapping: LabelMapping) -> Any:
    if mapping.problem_type == REGRESSION:
        return labels.numbers().astype(np.float32)
    ids = label_ids(labels, column=column, mapping=mapping, split_name="train").astype(np.int32)
    if mapping.problem_type != MULTI:
        return ids
    hot = csr_matrix((np.ones(len(ids), dtype=bool), (labels.rows, ids)), (len(labels.missing), mapping.num_labels))
    hot.sum_duplicates()  # a label named twice in a row is there once
    return hot
