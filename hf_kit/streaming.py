"""Training from a stream: its rows are tokenized as they are read, and what cannot be streamed is said first."""

from collections.abc import Callable, Iterator

import numpy as np
import pyarrow as pa
from transformers import PreTrainedTokenizerBase

from hf_kit.arguments import Arguments
from hf_kit.data.row_stream import State
from hf_kit.data.streamed_rows import StreamedRows
from hf_kit.errors import UserError
from hf_kit.tokenization import table_tokenizer


def check_streaming(arguments: Arguments) -> None:
    """Refuse, before anything is read, what --streaming cannot do.

    Raises:
        UserError: no data named, a buffer smaller than a step or without a stream, a tokenizer that must hold all
            texts, workers that outlive an epoch.
    """
    data, model, training = arguments.data, arguments.model, arguments.training
    if not data.streaming:
        if arguments.is_set("shuffle_buffer_size"):
            raise UserError("--shuffle_buffer_size is the buffer of --streaming; add --streaming, or leave it out")
        return
    if data.dataset_name is None and data.train_file is None:
        raise UserError(
            "--streaming needs training rows of yours, --train_file or --dataset_name; the sample is small enough "
            "without"
        )
    step = training.train_batch_size * training.world_size * training.gradient_accumulation_steps
    if data.shuffle_buffer_size < step:
        raise UserError(
            f"--shuffle_buffer_size {data.shuffle_buffer_size} is less than the {step} rows of a step (batch size x "
            "processes x accumulation); raise it, for good batches to a hundred times as much"
        )
    if model.model_name_or_path is None and model.tokenizer_name is None and model.tokenizer_type == "unigram":
        raise UserError(
            "--tokenizer_type unigram holds all training texts in memory, and --streaming shall not; choose "
            "wordpiece, bpe or wordlevel, or name a trained tokenizer with --tokenizer_name"
        )
    if training.dataloader_persistent_workers:
        raise UserError("--dataloader_persistent_workers would repeat one epoch's order with --streaming; leave it out")


class TokenizedStream:
    """The tokenized training rows, never held as a whole.

    Attributes:
        buffer_size: how many rows may be held in memory at once.
        first_lengths: [m] tokens per row of the first m rows, at most `buffer_size`.
    """

    def __init__(self, rows: StreamedRows, tokenizer: PreTrainedTokenizerBase, max_length: int, truncation_side: str):
        self.buffer_size = rows.buffer_size
        self._rows = rows
        self._columns = [c for c in (rows.columns.text, rows.columns.text_pair) if c]
        self._tokenize: Callable[[pa.Table], pa.Table] = table_tokenizer(tokenizer, max_length, truncation_side)
        self.first_lengths = np.concatenate([table["length"].to_numpy() for table in self.first_tables()])

    def __len__(self) -> int:
        return len(self._rows)

    def tables(self) -> Iterator[pa.Table]:
        """All rows in their order, some at a time: `input_ids`, `token_type_ids` if the model has them, `length`,
        `labels`."""
        for table, _ in self.tables_from(None):
            yield table

    def tables_from(self, state: State) -> Iterator[tuple[pa.Table, State]]:
        """As `tables`, from a state on (None: from the first row), each with the state after it."""
        for table, after in self._encoded(state):
            yield table.drop_columns("whole"), after

    def first_tables(self) -> Iterator[pa.Table]:
        """The first rows, at most `buffer_size`, as `tables` gives them and with `whole`, the length before the cut."""
        seen = 0
        for table, _ in self._encoded(None):
            table = table.slice(0, self.buffer_size - seen)
            seen += len(table)
            yield table
            if seen == self.buffer_size:
                return

    def _encoded(self, state: State) -> Iterator[tuple[pa.Table, State]]:
        for chunk, after in self._rows.chunks_from(state):
            table = chunk.data.table
            yield self._tokenize(table.select(self._columns)).append_column("labels", table["labels"]), after
