"""Word vectors are the LSTM's embedding: which rows they fill, what is told of it, and that they stay where frozen."""

import gzip
import importlib.util
import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from datasets import Dataset
from safetensors.torch import load_file
from tiny import BAD, GOOD, PLAIN, reviews, write_csv
from transformers import AutoModelForSequenceClassification, AutoTokenizer, BertConfig, BertModel

from hf_kit import word_vectors
from hf_kit.checkpoints.state_files import read_state
from hf_kit.cli import main
from hf_kit.errors import UserError
from hf_kit.models.lstm import LstmConfig, LstmForSequenceClassification
from hf_kit.tokenizer_training import train_tokenizer
from hf_kit.vector_file import VectorFile

DIM = 16
UNSEEN = "marvellous dreadful Naïve don't ##ing [MASK]".split()  # of no training text
QUICK = (
    "--model_type=hf_kit_lstm",
    '--config_overrides={"hidden_dim": 16}',
    "--disable_tqdm=True",
    "--num_train_epochs=2",
    "--baselines=False",
)


def write_vectors(path: Path, words: list[str], seed: int = 0, dim: int = DIM) -> dict[str, np.ndarray]:
    """Vectors with a standard deviation of 0.4, as GloVe's; what a reader must find in the file."""
    drawn = np.random.default_rng(seed).normal(0, 0.4, (len(words), dim)).astype(np.float32)
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "wt", encoding="utf-8") as stream:
        stream.writelines(f"{w} {' '.join(map(repr, v.tolist()))}\n" for w, v in zip(words, drawn, strict=True))
    return dict(reversed(list(zip(words, drawn, strict=True))))  # the first one wins


def write_files(folder: Path) -> dict[str, np.ndarray]:
    """`reviews.csv` and `vectors.txt`, which lacks the words `film` and `very`; the vectors."""
    write_csv(folder / "reviews.csv", reviews(120))
    words = [w for w in GOOD + BAD + PLAIN if w not in ("film", "very")]
    return write_vectors(folder / "vectors.txt", [*words, *UNSEEN])


@pytest.fixture
def files(tmp_path):
    return write_files(tmp_path)


@pytest.fixture(scope="module")
def frozen(tmp_path_factory):
    """The folder of a run with frozen vectors, its data in `reviews.csv` beside it, and the vectors."""
    folder = tmp_path_factory.mktemp("frozen")
    vectors = write_files(folder)
    out = folder / "out"
    flags = [f"--train_file={folder}/reviews.csv", f"--word_vectors={folder}/vectors.txt", f"--output_dir={out}"]
    assert main(["train", *QUICK, *flags, "--freeze_word_vectors"]) == 0
    return out, vectors


def train_further(out: Path, *flags: str) -> int:
    quick = ("--disable_tqdm=True", "--num_train_epochs=1", "--baselines=False")
    return main(
        ["train", f"--model_name_or_path={out}", f"--train_file={out.parent}/reviews.csv", *quick, *flags],
    )


def train(*flags: str) -> int:
    return main(["train", *QUICK, "--train_file=reviews.csv", "--word_vectors=vectors.txt", *flags])


def embedding(folder: str | Path) -> tuple[torch.Tensor, dict[str, int]]:
    return load_file(f"{folder}/model.safetensors")["embedding.weight"], AutoTokenizer.from_pretrained(folder).vocab


def filled(tokenizer, path: str = "vectors.txt", train: tuple[str, ...] = ("the hotel",), dim: int = DIM) -> np.ndarray:
    """The embedding `[v, e]` after `fill_embedding`."""
    torch.manual_seed(0)
    model = LstmForSequenceClassification(LstmConfig(vocab_size=len(tokenizer), embedding_dim=dim, hidden_dim=4))
    rows = Dataset.from_dict({"input_ids": [tokenizer(text)["input_ids"] for text in train]})
    word_vectors.fill_embedding(model, tokenizer, VectorFile(path), rows)
    return model.embedding.weight.detach().numpy()


def words_tokenizer(*texts: str, **options):
    return train_tokenizer(texts, tokenizer_type="wordlevel", special_tokens="plain", **options)


def test_a_frozen_run_keeps_the_vectors_of_the_file_and_of_unseen_words(frozen):
    out, vectors = frozen
    weights, vocabulary = embedding(out)
    assert json.loads((out / "config.json").read_text())["embedding_dim"] == DIM
    for word in (*GOOD, *BAD, "hotel", "marvellous", "dreadful"):
        np.testing.assert_array_equal(weights[vocabulary[word]].numpy(), vectors[word])
    np.testing.assert_array_equal(weights[vocabulary["naive"]].numpy(), vectors["Naïve"])
    # What the tokenizer would split can never be met in a text.
    assert not {"don't", "##ing", "Naïve"} & set(vocabulary)
    assert weights[vocabulary["film"]].abs().min() > 0
    assert weights[0].abs().max() == 0  # padding


def test_frozen_vectors_have_no_optimizer_state(frozen):
    checkpoint = next(frozen[0].glob("checkpoint-*"))
    state = read_state(checkpoint, "optimizer")["state"]
    shape = embedding(frozen[0])[0].shape
    assert state and all(value.shape != shape for slot in state.values() for value in slot.values())


def test_frozen_vectors_stay_frozen_when_the_folder_is_trained_further(frozen):
    before, _ = embedding(frozen[0])
    assert train_further(frozen[0], "--output_dir=second") == 0
    assert torch.equal(embedding("second")[0], before)
    facts = json.loads(Path("second/results.json").read_text())["training"]
    assert facts["parameters"] - facts["trained_parameters"] == before.numel()
    assert train_further(frozen[0], "--output_dir=third", '--config_overrides={"freeze_embeddings": false}') == 0
    assert not torch.equal(embedding("third")[0], before)


def test_lora_on_a_run_with_frozen_vectors_leaves_them_alone(frozen):
    assert train_further(frozen[0], "--use_peft", "--output_dir=adapted") == 0
    assert torch.equal(embedding("adapted/merged")[0], embedding(frozen[0])[0])


def test_a_run_folder_with_frozen_vectors_loads_through_the_auto_classes(frozen):
    model = AutoModelForSequenceClassification.from_pretrained(frozen[0])
    assert not model.embedding.weight.requires_grad
    assert torch.equal(model.embedding.weight, embedding(frozen[0])[0])


def test_tuned_vectors_start_at_the_file_and_move(files, capsys):
    assert train("--output_dir=tuned") == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["embedding_dim", "16", "word", "vectors"] in rows and [
        "tokenizer_type",
        "wordlevel",
        "word",
        "vectors",
    ] in rows
    weights, vocabulary = embedding("tuned")
    moved = np.abs(weights[vocabulary["hotel"]].numpy() - files["hotel"]).max()
    assert 0 < moved < 0.2
    np.testing.assert_array_equal(weights[vocabulary["marvellous"]].numpy(), files["marvellous"])  # no gradient
    assert weights[0].abs().max() == 0


def test_the_file_counts_by_its_content_and_only_the_recipe_names_it(files, tmp_path, capsys):
    assert train("--output_dir=out") == 0
    recipe = yaml.safe_load(Path("out/recipe.yaml").read_text())
    assert recipe["word_vectors"] == "vectors.txt"
    for name in ("run.json", "config.json", "results.json"):
        assert "vectors.txt" not in Path("out", name).read_text()
    os.rename("vectors.txt", "elsewhere.txt")
    capsys.readouterr()
    assert main(["train", "out/recipe.yaml", "--word_vectors=elsewhere.txt", "--output_dir=out"]) == 0
    assert "finished" in capsys.readouterr().out
    write_vectors(tmp_path / "vectors.txt", GOOD + BAD, seed=1)
    assert main(["train", "out/recipe.yaml", "--output_dir=out"]) == 1
    assert "another run (word vectors: " in capsys.readouterr().err


def test_a_recipes_word_vectors_go_with_its_model(files):
    from hf_kit.parsing import parse_arguments

    values = {"model_type": "hf_kit_lstm", "word_vectors": "vectors.txt", "freeze_word_vectors": True}
    Path("mine.yaml").write_text(yaml.safe_dump(values))
    model = parse_arguments(["mine.yaml", "--model_name_or_path=some/checkpoint"]).model
    assert model.word_vectors is None and not model.freeze_word_vectors


def test_the_width_that_a_recipe_chose_gives_way_to_the_vectors(files):
    from hf_kit.parsing import parse_arguments

    values = {"model_type": "hf_kit_lstm", "config_overrides": {"embedding_dim": 300, "hidden_dim": 16}}
    Path("mine.yaml").write_text(yaml.safe_dump(values))
    arguments = parse_arguments(["mine.yaml", "--word_vectors=vectors.txt"])
    assert word_vectors.settle(arguments).dim == DIM
    assert arguments.model.config_overrides == {"hidden_dim": 16}
    Path("mine.yaml").write_text(yaml.safe_dump(values | {"word_vectors": "vectors.txt"}))
    with pytest.raises(UserError, match="embedding_dim 300"):
        word_vectors.settle(parse_arguments(["mine.yaml"]))


@pytest.mark.parametrize(
    "flags, message",
    [
        (["--word_vectors=absent.txt"], "--word_vectors absent.txt cannot be read: No such file"),
        (["--word_vectors=vectors.txt", "--model_type=bert"], "the embedding of hf_kit_lstm"),
        (["--word_vectors=vectors.txt", "--model_name_or_path=some/checkpoint"], "brings its own embedding"),
        (
            ["--word_vectors=vectors.txt", '--config_overrides={"embedding_dim": 300}'],
            "embedding_dim 300, but the vectors of vectors.txt have 16 numbers",
        ),
        (["--freeze_word_vectors"], "without --word_vectors"),
        (
            ["--word_vectors=vectors.txt", "--freeze_word_vectors", '--config_overrides={"freeze_embeddings": false}'],
            "contradict each other",
        ),
        (["--word_vectors=reviews.csv"], "line 1"),
    ],
)
def test_mistakes_are_told_before_any_work(files, capsys, monkeypatch, flags, message):
    monkeypatch.setattr("hf_kit.run.load_splits", lambda **_: pytest.fail("the data were read first"))
    model = [] if any("--model" in flag for flag in flags) else ["--model_type=hf_kit_lstm"]
    assert main(["train", "--train_file=reviews.csv", *model, *flags]) == 1
    assert message in " ".join(capsys.readouterr().err.split())


def test_a_token_takes_the_exact_word_first_then_the_first_that_is_written_otherwise(tmp_path):
    drawn = write_vectors(tmp_path / "vectors.txt", ["The", "the", "the", "PARIS", "Paris", "Café"])
    tokenizer = words_tokenizer("the Paris cafe")
    rows = filled(tokenizer)
    for token, word in (("the", "the"), ("paris", "PARIS"), ("cafe", "Café")):
        np.testing.assert_array_equal(rows[tokenizer.vocab[token]], drawn[word])


def test_a_tokenizer_that_keeps_case_takes_the_exact_word_only(tmp_path):
    from tokenizers.normalizers import BertNormalizer

    drawn = write_vectors(tmp_path / "vectors.txt", ["The", "the", "PARIS"])
    tokenizer = words_tokenizer("the paris")
    tokenizer.backend_tokenizer.normalizer = BertNormalizer(lowercase=False)
    rows = filled(tokenizer)
    np.testing.assert_array_equal(rows[tokenizer.vocab["the"]], drawn["the"])
    assert not np.array_equal(rows[tokenizer.vocab["paris"]], drawn["PARIS"])


def test_tokens_without_a_vector_are_drawn_as_large_as_the_vectors(tmp_path):
    known, missing = [f"known{i}" for i in range(200)], [f"missing{i}" for i in range(200)]
    drawn = write_vectors(tmp_path / "vectors.txt", known, dim=50)
    tokenizer = words_tokenizer(" ".join(known + missing))
    rows = filled(tokenizer, dim=50)
    scale = np.std(list(drawn.values()))
    assert np.std(rows[[tokenizer.vocab[w] for w in missing]]) == pytest.approx(scale, rel=0.05)


def test_the_vocabulary_is_the_texts_words_and_then_the_files_in_its_order():
    words = ["the", "Zebra", "zebra", "two words", "don't", "apple", "中", "中文", "", "pear", "plum"]
    tokenizer = words_tokenizer("the hotel the film", vocab_size=12, more_words=words)
    tokens = sorted(tokenizer.vocab, key=tokenizer.vocab.get)
    assert tokens[5] == "the" and set(tokens[6:8]) == {"film", "hotel"}
    assert tokens[8:] == ["zebra", "apple", "中", "pear"]
    assert tokenizer.tokenize("A pear, the PLUM") == ["[UNK]", "pear", "[UNK]", "the", "[UNK]"]


def test_texts_that_fill_the_vocabulary_leave_the_file_unread():
    words = iter(["apple", "pear"])
    tokenizer = words_tokenizer("one two three", vocab_size=8, more_words=words)
    assert len(tokenizer) == 8 and "apple" not in tokenizer.vocab


def test_coverage_counts_tokens_and_running_words(tmp_path, capsys):
    write_vectors(tmp_path / "vectors.txt", ["the", "hotel", "pear", "[UNK]", "[PAD]"])
    tokenizer = words_tokenizer("the hotel was cold", more_words=["pear"])
    rows = filled(tokenizer, train=("the hotel the cold", "the unheard hotel"))
    printed = " ".join(capsys.readouterr().out.split())
    # Running words: the 3, hotel 2, cold 1, unknown 1.
    assert "3 of 5 tokens (60.0%) have one, and 71.4% of the running words" in printed
    assert "1 tokens come from the file alone; 14.3% of the running words are unknown" in printed
    assert not rows[0].any()


def test_low_coverage_is_a_warning_and_none_an_error(tmp_path, capsys):
    write_vectors(tmp_path / "vectors.txt", ["the", "haus"])
    filled(words_tokenizer("the hotel was cold"), train=("the hotel was cold",))
    error = capsys.readouterr().err
    assert "cover only 25.0% of the running words" in error and "another language" in error
    write_vectors(tmp_path / "vectors.txt", ["haus", "kalt"])
    with pytest.raises(UserError, match="no token of the tokenizer stands there"):
        filled(words_tokenizer("the hotel was cold"))


def test_the_remedy_for_no_match_is_not_what_the_run_already_has(tmp_path, capsys):
    write_vectors(tmp_path / "vectors.txt", ["酒店", "房间"])
    with pytest.raises(UserError) as words:
        filled(words_tokenizer("酒店房间很好"))
    assert "--tokenizer_type wordlevel" not in str(words.value)
    assert "of Chinese only single characters match" in str(words.value)
    with pytest.raises(UserError) as pieces:
        filled(train_tokenizer(["酒店房间很好"], tokenizer_type="bpe", vocab_size=300))
    assert "need --tokenizer_type wordlevel" in str(pieces.value)
    assert "single characters" not in str(pieces.value)


def test_the_advice_at_low_coverage_is_not_what_the_run_already_has(tmp_path, capsys):
    write_vectors(tmp_path / "vectors.txt", ["the", "店", "酒店"])
    text = "the 酒店 hotel was cold"
    filled(words_tokenizer(text), train=(text,))
    error = " ".join(capsys.readouterr().err.split())
    assert "of Chinese only single characters match" in error and "wordlevel" not in error
    filled(train_tokenizer([text], vocab_size=60), train=(text,))
    assert "words cut into pieces (--tokenizer_type wordlevel)" in " ".join(capsys.readouterr().err.split())


def test_vectors_exported_from_a_checkpoint_are_its_embedding_again(tmp_path):
    script = Path(word_vectors.__file__).parent.parent / "benchmarks" / "export_word_vectors.py"
    spec = importlib.util.spec_from_file_location("export_word_vectors", script)
    exporter = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(exporter)
    tokenizer = train_tokenizer(["the hotel was tasteless", "the bright waiter"], vocab_size=40)
    config = BertConfig(
        vocab_size=len(tokenizer), hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8
    )
    model = BertModel(config)
    model.save_pretrained(tmp_path / "bert")
    tokenizer.save_pretrained(tmp_path / "bert")
    assert exporter.export(str(tmp_path / "bert"), tmp_path / "out.txt.gz") == (len(tokenizer), 8)
    rows = filled(AutoTokenizer.from_pretrained(tmp_path / "bert"), "out.txt.gz", dim=8)
    expected = model.embeddings.word_embeddings.weight.detach().numpy()
    np.testing.assert_allclose(rows[1:], expected[1:], rtol=1e-5, atol=1e-9)


def test_a_checkpoints_own_tokenizer_finds_its_pieces(files, tmp_path):
    tokenizer = train_tokenizer([text for text, _ in reviews(120)], vocab_size=60)
    tokenizer.save_pretrained(tmp_path / "pieces")
    drawn = write_vectors(tmp_path / "vectors.txt", sorted(tokenizer.vocab))
    assert train("--tokenizer_name=pieces", "--freeze_word_vectors", "--output_dir=out") == 0
    weights, vocabulary = embedding("out")
    assert vocabulary == tokenizer.vocab
    for token in set(vocabulary) - {"[PAD]"}:
        np.testing.assert_array_equal(weights[vocabulary[token]].numpy(), drawn[token])
