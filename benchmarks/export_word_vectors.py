"""The input embeddings of a pretrained checkpoint as word vectors in text form, for `--word_vectors`.

    python benchmarks/export_word_vectors.py MODEL_FOLDER OUT.txt.gz

One row a token, in the order of the vocabulary, in word2vec's form (`count dim` first); gzip where the name ends in
.gz. Pieces within words (`##ing`) are written as they are: a reader with the checkpoint's own tokenizer
(`--tokenizer_name MODEL_FOLDER`) finds them, one with words as tokens passes over them.
"""

import gzip
import sys
from pathlib import Path

from transformers import AutoModel, AutoTokenizer


def export(folder: str, out: Path) -> tuple[int, int]:
    """Write the vectors; how many, and how many numbers each has."""
    tokens = AutoTokenizer.from_pretrained(folder).get_vocab()
    vectors = (
        AutoModel.from_pretrained(folder, dtype="float32").get_input_embeddings().weight.detach().numpy()
    )  # [v, e]
    # A token with white space in it would break its row.
    rows = [token for token in sorted(tokens, key=tokens.get) if token.split() == [token]]
    opened = gzip.open if out.suffix == ".gz" else open
    with opened(out, "wt", encoding="utf-8", newline="\n") as stream:
        stream.write(f"{len(rows)} {vectors.shape[1]}\n")
        for token in rows:
            stream.write(f"{token} {' '.join(f'{number:.6g}' for number in vectors[tokens[token]])}\n")
    return len(rows), vectors.shape[1]


def main() -> int:
    if len(sys.argv) != 3:
        print("python benchmarks/export_word_vectors.py MODEL_FOLDER OUT.txt.gz", file=sys.stderr)
        return 1
    words, width = export(sys.argv[1], Path(sys.argv[2]))
    print(f"{sys.argv[2]}: {words:,} vectors of {width} numbers")
    return 0


if __name__ == "__main__":
    sys.exit(main())
