"""Tokenized data sets, written once and memory-mapped from then on.

A file's name is a hash of the texts and of everything that decides their tokens, never the fingerprint of a function: a
tokenizer's pickle changes with use. It ends in its own checksum; one that is damaged is written again. It is written
aside and renamed, so processes may race.
"""

import hashlib
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import datasets
import numpy as np
import pyarrow as pa

DIGEST_BYTES = hashlib.sha256().digest_size


def cached_rows(
    texts: datasets.Dataset,
    settings: str,
    encode: Callable[[pa.Table, list[int]], pa.Table],
    *,
    cache_dir: str | os.PathLike | None,
    description: str,
) -> tuple[datasets.Dataset, bool]:
    """What `encode` makes of `texts`, and whether it was there already.

    Args:
        cache_dir: that of `datasets`; the file lies in its folder `hf_kit`.
        texts: columns of strings, in arrow format.
        settings: all that the result depends on beside the texts.
        encode: gets some rows and their numbers.
        description: names the progress bar, which is shown only when there is work to do.
    """
    key = _content_key(texts, settings)
    folder = Path(cache_dir or datasets.config.HF_DATASETS_CACHE) / "hf_kit"
    path = folder / f"tokenized-{key}.arrow"
    there = _is_intact(path)
    if not there:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix="writing-") as aside:
            written = Path(aside) / path.name
            texts.map(
                encode,
                batched=True,
                with_indices=True,
                remove_columns=texts.column_names,
                cache_file_name=str(written),
                load_from_cache_file=False,
                new_fingerprint=key,
                desc=description,
            )
            _seal(written)
            os.replace(written, path)
    return datasets.Dataset.from_file(str(path), split=texts.split), there


def _content_key(texts: datasets.Dataset, settings: str) -> str:
    """sha256 over `settings` and every text; the same however the rows are split into Arrow chunks."""
    key = hashlib.sha256(settings.encode())
    for column in texts.column_names:
        characters, lengths = hashlib.sha256(), hashlib.sha256()
        for table in texts.select_columns(column).iter(batch_size=10_000):
            for chunk in table[column].chunks:
                array = chunk.cast(pa.large_string())
                _, offsets, values = array.buffers()
                offsets = np.frombuffer(offsets, np.int64)[array.offset : array.offset + len(array) + 1]  # [rows + 1]
                characters.update(memoryview(values)[offsets[0] : offsets[-1]])
                lengths.update(np.diff(offsets).tobytes())
        key.update(characters.digest() + lengths.digest())
    return key.hexdigest()


def _seal(path: Path) -> None:
    """Append the file's sha256; readers of an Arrow stream stop at its end mark, before these bytes."""
    with path.open("r+b") as file:
        file.write(hashlib.file_digest(file, "sha256").digest())


def _is_intact(path: Path) -> bool:
    if not path.is_file():
        return False
    with pa.memory_map(str(path)) as file:
        content = memoryview(file.read_buffer())
        return hashlib.sha256(content[:-DIGEST_BYTES]).digest() == bytes(content[-DIGEST_BYTES:])
