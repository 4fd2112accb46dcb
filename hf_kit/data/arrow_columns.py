"""One column of a data set as one Arrow array, and row numbers for messages."""

import numpy as np
import pyarrow as pa
from datasets import Dataset

MOST_NAMED = 5


def content_of(table: pa.Table) -> pa.Buffer:
    """The values of a table as bytes, whatever pieces it lies in."""
    sink = pa.BufferOutputStream()
    plain = table.replace_schema_metadata(None).combine_chunks()
    with pa.ipc.new_stream(sink, plain.schema) as writer:
        writer.write_table(plain)
    return sink.getvalue()


def column_array(dataset: Dataset, column: str) -> pa.Array:
    """The column's values in the order of the rows, also after `select` or `shuffle`; other columns are not read."""
    values = dataset.select_columns([column]).with_format("arrow")[:].column(0).combine_chunks()
    if isinstance(values, pa.ChunkedArray):
        values = pa.concat_arrays(values.chunks)
    return values.storage if isinstance(values, pa.ExtensionArray) else values


def name_rows(wrong: np.ndarray) -> str:
    """`row 3`, or `rows 3, 8, 9, 11, 12 and 7 more`: where `wrong` ([n] bool) is true; data rows count from 1."""
    rows = np.flatnonzero(wrong) + 1
    shown = ", ".join(str(row) for row in rows[:MOST_NAMED])
    if len(rows) == 1:
        return f"row {shown}"
    return f"rows {shown}" + (f" and {len(rows) - MOST_NAMED:,} more" if len(rows) > MOST_NAMED else "")
