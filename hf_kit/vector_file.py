"""A file of word vectors as text, read row by row: GloVe's form, and that of word2vec and fastText with a header.

The header, where there is one, is `count dim`; a row is a word and `dim` numbers.

Rows end at a line feed and fields at a space, as in the programs that write these files; Python's own idea of lines and
white space is wider, and vocabularies of web pages hold words made of such characters. The numbers stand at a row's
end, so a word may hold spaces itself (GloVe 840B has `. . .`). Rows are read as they come: memory does not grow with
the file. Numbers become numbers only for the rows that somebody wants.
"""

import gzip
import re
import sys
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm.auto import tqdm

from hf_kit.console import is_main_process, warn
from hf_kit.errors import UserError
from hf_kit.packings import packing_of

HEAD_BYTES = 1 << 20  # enough for a header and a row of many thousand numbers; no row is longer
_NUMBER = re.compile(rb"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_CONTROL = re.compile(rb"[\x00-\x08\x0e-\x1f]")
_LARGEST = float(np.finfo(np.float32).max)
_TOO_LONG = f"the row is longer than {HEAD_BYTES:,} bytes; expected a word and its numbers in every line"


class Row(NamedTuple):
    """One row: its line in the file, its word, and its numbers as they stand there."""

    line: int
    word: str
    numbers: bytes


class VectorFile:
    """Word vectors in text form, plain or gzip; opening it reads the first row only.

    Attributes:
        dim: numbers per word.
        count: the rows that the header promises; None without a header.

    Raises:
        UserError: there is no such file, it is empty, binary, packed otherwise, or does not begin with a row.
    """

    def __init__(self, path: str):
        self.path = Path(path).expanduser()
        self._name = f"--word_vectors {path}"
        with self._problems_named():
            with self.path.open("rb") as raw:
                start = raw.read(8)
            self._gzip = packing_of(start) == "gzip"
            self._check_packing(start)
            with self.path.open("rb") as raw:
                head = self._unpacked(raw).read(HEAD_BYTES)
        self.count, self.dim = self._first_row(head)

    def rows(self, description: str) -> Iterator[Row]:
        """Every row in the file's order, with a progress bar where a person waits for it.

        Raises:
            UserError: a row with another count of numbers, a word that is not UTF-8, a damaged gzip file.
        """
        seen = 0
        for line, text in self._lines(description):
            spaces = text.count(b" ")
            if spaces == self.dim:
                word, _, numbers = text.partition(b" ")
            elif spaces > self.dim:
                # From the right: the word itself may hold spaces, but it does not end in a fraction.
                word = text.rsplit(b" ", self.dim)[0]
                numbers = text[len(word) + 1 :]
                last = word.rpartition(b" ")[2]
                if b"." in last and _NUMBER.fullmatch(last):
                    raise self._mistake(line, f"expected {self.dim} numbers as in the first row, found more")
            else:
                raise self._mistake(
                    line, f"expected a word and {self.dim} numbers as in the first row, found {spaces} after the word"
                )
            seen += 1
            try:
                yield Row(line, word.decode(), numbers)
            except UnicodeDecodeError:
                raise self._mistake(
                    line, f"the word {word!r} is not UTF-8; convert the file, e.g. with iconv"
                ) from None
        if self.count is not None and seen < self.count:
            warn(f"{self._name}: the header promises {self.count:,} words, the file holds {seen:,}; is it cut off?")

    def words(self) -> Iterator[str]:
        """Every word in the file's order; errors as in `rows`."""
        return (row.word for row in self.rows("reading the words of the word vectors"))

    def vector(self, row: Row) -> np.ndarray:
        """The row's numbers, `[dim]`, float32.

        Raises:
            UserError: one of them is no number, or not a finite one.
        """
        fields = row.numbers.split(b" ")
        try:
            vector = np.array([float(field) for field in fields])
        except ValueError:
            vector = np.array([np.nan])
        if not (np.abs(vector) <= _LARGEST).all():
            wrong = next(f for f in fields if not _NUMBER.fullmatch(f) or abs(float(f)) > _LARGEST)
            raise self._mistake(
                row.line, f"`{_shown(wrong)}` in the vector of `{row.word}`; expected {self.dim} finite numbers"
            )
        return vector.astype(np.float32)

    def _check_packing(self, start: bytes) -> None:
        packing = packing_of(start)
        if packing not in (None, "gzip"):
            raise UserError(f"{self._name} is packed with {packing}; unpack it first (plain text and gzip are read)")
        if self.path.suffix == ".gz" and not self._gzip:
            raise UserError(f"{self._name} is no gzip file, whatever its name says; rename it or get it again")

    def _first_row(self, head: bytes) -> tuple[int | None, int]:
        """What a header promises, and the numbers per word."""
        if not head.strip():
            raise UserError(f"{self._name} is empty; expected a word and its numbers in every line")
        head = head.removeprefix(b"\xef\xbb\xbf")
        lines = [line.rstrip(b" \r") for line in head.split(b"\n")]
        fields, line, count = lines[0].split(b" "), 1, None
        header = len(fields) == 2 and all(field.isdigit() for field in fields)
        if _CONTROL.search(head[: 1 << 16]):
            raise UserError(
                f"{self._name} is a binary file; expected text. A .bin of word2vec becomes text with gensim:\n"
                f"  python -c \"from gensim.models import KeyedVectors as K; K.load_word2vec_format('{self.path}', "
                "binary=True).save_word2vec_format('vectors.txt')\"\n"
                "For a .bin of fastText download the .vec file beside it"
            )
        if len(head) == HEAD_BYTES and len(lines) < (3 if header else 2):
            raise self._mistake(2 if header else 1, _TOO_LONG)
        if header:
            count, dim = map(int, fields)
            if dim < 1 or len(lines) < 2 or not lines[1]:
                raise self._mistake(1, f"the header `{count} {dim}` and no vectors after it")
            fields, line = lines[1].split(b" "), 2
        numbers = 0
        while numbers < len(fields) - 1 and _is_float(fields[-1 - numbers]):
            numbers += 1
        middle = fields[1 : len(fields) - numbers]
        if numbers == 0 or any(_NUMBER.fullmatch(field) for field in middle):
            wrong = middle[-1] if middle else lines[line - 1]
            raise self._mistake(
                line, f"`{_shown(wrong)}`; expected a word and its numbers with single spaces between them"
            )
        if header and numbers != dim:
            raise self._mistake(line, f"expected {dim} numbers, as the header says, found {numbers}")
        return count, numbers

    def _lines(self, description: str) -> Iterator[tuple[int, bytes]]:
        """Line number and content of all lines but the header and blank ones."""
        shown = sys.stderr.isatty() and is_main_process()
        with (
            self._problems_named(),
            self.path.open("rb") as raw,
            tqdm(
                total=self.path.stat().st_size, desc=description, unit="B", unit_scale=True, delay=1, disable=not shown
            ) as bar,
        ):
            unpacked = self._unpacked(raw)
            # A few kilobytes of gzip can unpack to one line of gigabytes.
            for line, text in enumerate(iter(lambda: unpacked.readline(HEAD_BYTES + 1), b""), 1):
                if len(text) > HEAD_BYTES:
                    raise self._mistake(line, _TOO_LONG)
                if line % 10_000 == 0:
                    bar.update(raw.tell() - bar.n)
                if line == 1:
                    if self.count is not None:
                        continue
                    text = text.removeprefix(b"\xef\xbb\xbf")
                text = text.rstrip(b" \r\n")
                if text:
                    yield line, text

    def _unpacked(self, raw):
        return gzip.GzipFile(fileobj=raw) if self._gzip else raw

    @contextmanager
    def _problems_named(self) -> Iterator[None]:
        try:
            yield
        except (gzip.BadGzipFile, EOFError, zlib.error) as reason:
            raise UserError(f"{self._name} is a damaged gzip file ({reason}); download it again") from None
        except OSError as reason:
            raise UserError(f"{self._name} cannot be read: {reason.strerror}") from None

    def _mistake(self, line: int, what: str) -> UserError:
        return UserError(f"{self._name}, line {line}: {what}")


def _is_float(field: bytes) -> bool:
    """Whether the field is a number, finite or not."""
    return _NUMBER.fullmatch(field) is not None or field.lower().lstrip(b"+-") in (b"nan", b"inf", b"infinity")


def _shown(field: bytes) -> str:
    return field[:60].decode(errors="replace")
