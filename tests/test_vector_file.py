"""Word vectors as text: every usual form is read, and a faulty file is one clear error."""

import gzip
import subprocess
import sys

import numpy as np
import pytest

from hf_kit.errors import UserError
from hf_kit.vector_file import VectorFile

ROWS = b"the 0.5 -1e-2 3\ncat 1 .25 -0.0\n"
VECTORS = {"the": [0.5, -0.01, 3], "cat": [1, 0.25, 0]}


def read(path) -> dict[str, list[float]]:
    file = VectorFile(str(path))
    return {row.word: file.vector(row).tolist() for row in file.rows("reading")}


def written(tmp_path, content: bytes, name: str = "vectors.txt"):
    (tmp_path / name).write_bytes(content)
    return tmp_path / name


@pytest.mark.parametrize(
    "name, content",
    [
        ("glove.txt", ROWS),
        ("word2vec.txt", b"2 3\n" + ROWS),
        ("fasttext.vec", b"2 3\n" + ROWS.replace(b"\n", b" \n")),  # its rows end in a space
        ("windows.txt", b"\xef\xbb\xbf" + ROWS.replace(b"\n", b"\r\n")),
        ("no_end.txt", ROWS.rstrip()),
        ("blank_lines.txt", ROWS + b"\n\n"),
        ("glove.txt.gz", gzip.compress(ROWS, mtime=0)),
        ("gzip_by_content.txt", gzip.compress(b"2 3\n" + ROWS, mtime=0)),
    ],
)
def test_every_usual_form_is_read(tmp_path, name, content):
    path = written(tmp_path, content, name)
    file = VectorFile(str(path))
    assert file.dim == 3 and file.count in (None, 2)
    found = read(path)
    assert list(found) == ["the", "cat"] == list(file.words())
    for word, vector in VECTORS.items():
        np.testing.assert_allclose(found[word], vector, rtol=1e-6)


def test_words_may_hold_spaces_numbers_and_characters_that_python_takes_for_line_ends(tmp_path):
    words = [
        ". . .",
        "at name@example.com",
        "1",
        "world war 2",
        "nan",
        "a\u2028b",
        "x\x85y",
        "\u00a0",
        "中文",
        "\u3000",
    ]
    lines = "".join(f"{word} 0.1 0.2\n" for word in words)
    assert list(read(written(tmp_path, lines.encode()))) == words


def test_a_header_is_told_from_a_row_whose_word_is_a_number(tmp_path):
    assert VectorFile(str(written(tmp_path, b"7 0.1 0.2\nx 0.1 0.2\n"))).dim == 2


@pytest.mark.parametrize(
    "content, where, what",
    [
        (b"", "is empty", "a word and its numbers"),
        (gzip.compress(b"", mtime=0), "is empty", "a word and its numbers"),
        (b"2 3\n", "line 1", "no vectors after it"),
        (b"2 4\n" + ROWS, "line 2", "expected 4 numbers, as the header says, found 3"),
        (b"the,0.1,0.2\n", "line 1", "single spaces"),
        (b"the\t0.1\t0.2\n", "line 1", "single spaces"),
        (b"some words of a text\n", "line 1", "`text`"),
        (b"the 0.1 abc 0.3\n", "line 1", "`abc`"),
        (ROWS + b"dog 1 2\n", "line 3", "expected a word and 3 numbers as in the first row, found 2"),
        (b"3 3\n" + ROWS + b"dog 1 2\n", "line 4", "found 2"),
        (ROWS + b"dog 0.1 0.2 0.3 0.4\n", "line 3", "expected 3 numbers as in the first row, found more"),
        (ROWS + b"dog 1 two 3\n", "line 3", "`two` in the vector of `dog`; expected 3 finite numbers"),
        (ROWS + b"dog 1  3\n", "line 3", "`` in the vector of `dog`"),
        (ROWS + b"dog 1 nan 3\n", "line 3", "`nan` in the vector of `dog`"),
        (ROWS + b"dog 1 -inf 3\n", "line 3", "`-inf` in the vector"),
        (ROWS + b"dog 1 1e39 3\n", "line 3", "`1e39` in the vector"),
        (ROWS + "caf\xe9 1 2 3\n".encode("latin-1"), "line 3", "is not UTF-8"),
        (gzip.compress(ROWS * 900, mtime=0)[:-40], "damaged gzip", "download it again"),
        (b"PK\x03\x04rest", "packed with zip", "unpack it first"),
        (b"2 3\nthe " + np.float32([0.5, -0.01, 3]).tobytes() + b"\n", "binary file", "gensim"),
        (b"\xba\x16\x4f\x2f\x0c\x00\x00\x00", "binary file", ".vec file"),
        ("the 0.1 0.2\n".encode("utf-16"), "binary file", "expected text"),
    ],
)
def test_a_faulty_file_is_one_clear_error(tmp_path, content, where, what):
    path = written(tmp_path, content)
    with pytest.raises(UserError) as raised:
        read(path)
    assert f"--word_vectors {path}" in str(raised.value)
    assert where in str(raised.value) and what in str(raised.value)


def test_a_faulty_number_of_a_word_that_nobody_wants_is_not_looked_at(tmp_path):
    file = VectorFile(str(written(tmp_path, ROWS + b"dog 1 two 3\n")))
    assert list(file.words()) == ["the", "cat", "dog"]


@pytest.mark.parametrize(
    "name, what", [("absent.txt", "No such file"), (".", "directory"), ("text.gz", "is no gzip file")]
)
def test_a_file_that_cannot_be_opened_is_one_clear_error(tmp_path, name, what):
    written(tmp_path, ROWS, "text.gz")
    with pytest.raises(UserError, match=what):
        VectorFile(str(tmp_path / name))


def test_a_file_cut_off_is_noticed_by_its_header(tmp_path, capsys):
    read(written(tmp_path, b"5 3\n" + ROWS))
    assert "promises 5 words, the file holds 2" in capsys.readouterr().err


def test_memory_does_not_grow_with_the_file(tmp_path):
    path = tmp_path / "large.txt"
    row = " 0.1234567" * 100 + "\n"
    with path.open("w") as stream:
        stream.writelines(f"word{i}{row}" for i in range(60_000))  # 60 MB
    code = (
        "import resource, sys; from hf_kit.vector_file import VectorFile; file = VectorFile(sys.argv[1]);\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss; n = sum(1 for _ in file.words())\n"
        "print(n, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    words, kilobytes = map(int, done.stdout.split())
    assert words == 60_000 and kilobytes < 10_000
