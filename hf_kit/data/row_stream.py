"""A split as a stream: its rows are read anew for every pass, a few at a time, and never lie anywhere as a whole.

A pass can be taken up where another one stood: each table comes with a state, plain JSON, from which the next ones are
read without those before.
"""

from collections.abc import Callable, Iterator
from typing import Any

import pyarrow as pa
from datasets import Dataset, DatasetInfo, Features, IterableDataset, NamedSplit
from datasets.exceptions import DatasetGenerationError
from datasets.fingerprint import generate_random_fingerprint
from datasets.table import table_cast

from hf_kit.errors import UserError

State = Any  # plain JSON
CHUNK = 1000  # rows read at a time; what is held of a stream while it is read


class RowStream:
    """Rows with known features, in the order of their source.

    Args:
        features: those of every row.
        tables: reads on from a state (None: from the first row); it gives Arrow tables of at most `CHUNK` rows, each
            with the state after it.
    """

    def __init__(self, features: Features, tables: Callable[[State], Iterator[tuple[pa.Table, State]]]):
        self.features = features
        self.tables = tables

    @property
    def column_names(self) -> list[str]:
        return list(self.features)

    def chunks(self) -> Iterator[Dataset]:
        """All rows, as data sets of at most `CHUNK` rows in memory."""
        for table, _ in self.tables(None):
            yield in_memory(table, self.features)

    def load(self, name: str) -> Dataset:
        """All rows in memory.

        Raises:
            UserError: there are none; `name` says where.
        """
        tables = [chunk.data.table for chunk in self.chunks()]
        if not tables:
            raise UserError(f"{name} has no rows")
        return in_memory(pa.concat_tables(tables), self.features)

    def __getitem__(self, column: str) -> Iterator[Any]:
        """The values of one column, one by one."""
        for chunk in self.chunks():
            yield from chunk[column][:]


def in_memory(table: pa.Table, features: Features) -> Dataset:
    """A data set over `table` alone: `datasets` writes nothing for it and looks up nothing in its cache."""
    # A fingerprint of the contents would read the whole table again.
    fingerprint = generate_random_fingerprint()
    return Dataset(table, info=DatasetInfo(features=features), split=NamedSplit("train"), fingerprint=fingerprint)


def stream_of(source: IterableDataset, name: str) -> RowStream:
    """The rows of a `datasets.IterableDataset`. Where it names no types, those of its first rows count for all.

    Raises:
        UserError: while it is read: it breaks off, or later rows have other types than the first ones.
    """

    def tables(state: State) -> Iterator[tuple[pa.Table, State]]:
        rows = source.with_format("arrow")
        if state is not None:
            rows.load_state_dict(state)
        try:
            for table in rows.iter(batch_size=CHUNK):
                yield table, rows.state_dict()
        except (pa.ArrowException, OSError, ValueError, DatasetGenerationError) as reason:
            why = str(reason.__cause__ or reason).split("\n")[0]
            raise UserError(f"{name}: the rows cannot be read to their end ({why})") from None

    if source.features is not None:
        return RowStream(source.features, tables)
    first = next(tables(None), None)
    if first is None:
        raise UserError(f"{name} has no rows")
    features = Features.from_arrow_schema(first[0].schema)

    def cast(state: State) -> Iterator[tuple[pa.Table, State]]:
        seen, inner = state or (0, None)
        for table, after in tables(inner):
            try:
                yield table_cast(table, features.arrow_schema), [seen := seen + len(table), after]
            except (pa.ArrowException, TypeError, ValueError) as reason:
                rows = f"rows {seen + 1:,} to {seen + len(table):,}"
                raise UserError(
                    f"{name}: {rows} have other columns or types than the first rows ({str(reason).splitlines()[0]}); "
                    "without --streaming the types are decided from all rows"
                ) from None

    return RowStream(features, cast)
