"""What a file would tell the world that is nobody's business: tokens, paths, names of people and machines.

Read are the texts of a publication, the headers of its weights and the notes in its pictures; the weights themselves
and the pixels are numbers. Known are the shapes of the tokens in use, and this machine's own words: its name, its
user's, their folders, and the values of the variables that hold secrets.
"""

import getpass
import os
import re
import socket
import zlib
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import get_token

# By kind. The owners publish these shapes: GitHub, GitLab, AWS, Google, Slack, OpenAI, Anthropic, Stripe, npm, PyPI.
TOKENS = {
    "Hugging Face token": r"\b(?:hf|api_org)_[A-Za-z0-9]{16,}",
    "GitHub token": r"\b(?:gh[pousr]_[A-Za-z0-9]{30,}|github_pat_[A-Za-z0-9_]{30,})",
    "GitLab token": r"\bglpat-[\w-]{20,}",
    "AWS key": r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b",
    "Google key": r"\bAIza[\w-]{35}|\bya29\.[\w-]{20,}",
    "Slack token": r"\bxox[abprs]-[\w-]{10,}|hooks\.slack\.com/services/\w+/\w+/\w+",
    "OpenAI or Anthropic key": r"\bsk-(?:ant-|proj-)?[\w-]{20,}",
    "Stripe key": r"\b[rs]k_(?:live|test)_[A-Za-z0-9]{16,}",
    "npm token": r"\bnpm_[A-Za-z0-9]{36}\b",
    "PyPI token": r"\bpypi-[\w-]{40,}",
    "private key": r"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY-----",
    "JSON web token": r"\beyJ[\w-]{8,}\.eyJ[\w-]{8,}\.[\w-]+",
    "password in an address": r"\b[a-z][a-z0-9+.-]*://[^/\s:@'\"]+:[^/\s@'\"]+@",
    "bearer token": r"(?i)\bbearer +[\w.~+/=-]{16,}",
    "password": r"(?i)\b(?:password|passwd|secret|api_?key|access_?token)[\"']?\s*[:=]\s*[\"']?[^\s\"',;{}<>()]{8,}",
}
PATHS = {
    "home folder": r"(?:/home/|/Users/|[A-Za-z]:\\+Users\\+)[\w.-]+|(?<![\w/.])/root/\w|(?<![\w/])~[\w-]*/[\w.-]+",
    "path of a machine": r"(?<![\w/.:*<])/(?:tmp|mnt|media|scratch|workspace|work|data|var|opt|srv|private)/[\w.-]+"
    r"|\bfile://|\\{2,4}[\w.-]+\\{1,2}\w|\b[A-Za-z]:\\+\w",
}
PEOPLE = {
    "e-mail address": r"\b[\w.+-]+@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*\.[A-Za-z]{2,}\b",
    "name of a machine": r"\b[\w-]+(?:\.[\w-]+)*\.(?:local|internal|intranet|lan|corp|localdomain)\b",
    "address in a private network": r"(?<![\d.])(?:10(?:\.\d{1,3}){3}|192\.168(?:\.\d{1,3}){2}"
    r"|172\.(?:1[6-9]|2\d|3[01])(?:\.\d{1,3}){2})(?![\d.])",
}
SECRET_VARIABLES = re.compile(r"(?i)token|secret|passw|api_?key|credential|private_?key")
SHORTEST = 8  # of a secret's value; a shorter one would be found in ordinary words
SHORTEST_NAME = 4  # of a user's or a machine's
# Not names of anybody.
ANYBODY = {"root", "user", "admin", "ubuntu", "runner", "docker", "jovyan", "localhost", "nobody", "test", "build"}
# A vocabulary is a list of words: an e-mail address in one that was learned elsewhere is of the world already. So is
# the path of the file that it was learned from, which SentencePiece notes in its own; this kit makes no such files.
VOCABULARIES = (
    "tokenizer.json vocab.json vocab.txt target_vocab.json merges.txt added_tokens.json source.spm target.spm "
    "sentencepiece.bpe.model sentencepiece.model spiece.model tokenizer.model"
).split()
WORDS_OF_DATA = ("README.md", "results.json")


@dataclass(frozen=True)
class _Own:
    """A word of this machine.

    Attributes:
        ordinary: it could be a word of the data as well.
    """

    kind: str
    pattern: re.Pattern
    ordinary: bool


def disclosures(folder: Path, labels: Collection[str] = ()) -> list[str]:
    """What the files below `folder` would disclose, one sentence each: the file, the kind, and where; no secret.

    Args:
        labels: of the model; a user may be called as one of them.
    """
    own = _own_words({word.lower() for label in labels for word in re.findall(r"\w+", label)})
    found = []
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        name = str(path.relative_to(folder))
        for text in [name, *_texts(path)]:
            found += [f"{name} holds {kind}{_place(text, start)}" for kind, start in _look(text, own, path.name)]
    return list(dict.fromkeys(found))


def _look(text: str, own: list[_Own], name: str) -> Iterator[tuple[str, int]]:
    """Kinds, and where the first of each begins."""
    patterns = TOKENS if name in VOCABULARIES else TOKENS | PATHS | PEOPLE
    for kind, pattern in patterns.items():
        match = re.search(pattern, text)
        if match:
            yield f"{'an' if kind[0] in 'aeiouAEIO' else 'a'} {kind}", match.start()
    for word in own:
        match = None if word.ordinary and name in [*VOCABULARIES, *WORDS_OF_DATA] else word.pattern.search(text)
        if match:
            yield word.kind, match.start()


def _place(text: str, start: int) -> str:
    return f" (line {text.count(chr(10), 0, start) + 1})" if "\n" in text else ""


def _own_words(labels: set[str]) -> list[_Own]:
    words: dict[str, _Own] = {}

    def add(kind: str, value: str, shortest: int) -> None:
        if len(value) >= shortest and value.lower() not in ANYBODY | labels and not value.isdecimal():
            pattern = re.compile(rf"(?<![\w-]){re.escape(value)}(?![\w-])")
            words.setdefault(value, _Own(kind, pattern, value.isalpha()))

    for name, value in os.environ.items():
        if SECRET_VARIABLES.search(name) and "/" not in value:
            add(f"the value of the environment variable {name}", value.strip(), SHORTEST)
    add("the token of `hf auth login`", get_token() or "", SHORTEST)
    try:
        add("this machine's user name", getpass.getuser(), SHORTEST_NAME)
    except (OSError, KeyError):  # a container's user without a name
        pass
    add("this machine's name", socket.gethostname(), SHORTEST_NAME)
    add("this user's home folder", str(Path.home()), SHORTEST)
    return list(words.values())


def _texts(path: Path) -> Iterator[str]:
    """What can be read in a file."""
    content = path.read_bytes() if path.suffix != ".safetensors" else b""
    if path.suffix == ".safetensors":
        with path.open("rb") as stream:
            size = int.from_bytes(stream.read(8), "little")
            yield stream.read(min(size, 100_000_000)).decode("utf-8", "replace")
    elif content.startswith(b"\x89PNG"):
        yield from _notes_of(content)
    else:
        yield content.decode("utf-8", "replace")


def _notes_of(png: bytes) -> Iterator[str]:
    """The texts in a PNG file (w3.org/TR/png, 11.3.3), and what follows its end."""
    at = 8
    while at + 12 <= len(png):
        size, kind = int.from_bytes(png[at : at + 4], "big"), png[at + 4 : at + 8]
        data = png[at + 8 : at + 8 + size]
        at += 12 + size
        if kind in (b"tEXt", b"iTXt", b"eXIf"):
            yield data.decode("utf-8", "replace")
        if kind in (b"zTXt", b"iTXt"):
            for start in range(len(data) - 2):  # the compressed part begins after keyword, flags and language
                if data[start : start + 1] == b"\x78":
                    try:
                        yield zlib.decompressobj().decompress(data[start:], 1_000_000).decode("utf-8", "replace")
                    except zlib.error:
                        continue
        if kind == b"IEND":
            break
    if png[at:]:
        yield png[at:].decode("utf-8", "replace")
