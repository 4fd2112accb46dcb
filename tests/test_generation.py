"""What a model writes depends neither on the pieces that a batch is cut into nor on the rows beside it."""

import pytest
import torch
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer
from translators import SOURCES, write_translator

from hf_kit import generation
from hf_kit.generation import cut_rows, generate, longest_quick
from hf_kit.token_loss import IGNORED

SOME = sorted(SOURCES[:9], key=len, reverse=True)  # as batches come: the longest first


@pytest.fixture(scope="module", params=["bart", "t5", "m2m_100", "lstm"])
def asked(request, tmp_path_factory):
    """A model and a batch of sources."""
    folder = write_translator(request.param, tmp_path_factory.mktemp("writer"))
    model = AutoModelForSeq2SeqLM.from_pretrained(folder).eval()
    config = model.generation_config
    config.max_length, config.num_beams, config.early_stopping = 12, 3, True
    config.eos_token_id = [config.eos_token_id, *range(5, model.config.vocab_size, 6)]  # that rows end here and there
    batch = AutoTokenizer.from_pretrained(folder)(SOME, padding=True, return_tensors="pt")
    return model, dict(batch)


def rows(written: torch.Tensor) -> list[list[int]]:
    return [row[row != IGNORED].tolist() for row in written]


def test_rows_end_after_their_end_and_have_no_start(asked):
    model, batch = asked
    written, ends = generate(model, batch), set(model.generation_config.eos_token_id)
    with torch.inference_mode():
        library = model.generate(**batch)
    assert len(written) == len(SOME) and written.shape[1] <= 11
    ended = set()
    for row, theirs in zip(written.tolist(), library.tolist(), strict=True):
        end = next((place + 1 for place, token in enumerate(row) if token in ends), len(row))
        assert row[:end] == theirs[1 : end + 1]
        assert set(row[end:]) <= {IGNORED}
        ended.add(end)
    assert len(ended) > 1  # of unequal lengths


def test_a_batch_is_what_its_rows_are_alone(asked):
    model, batch = asked
    together = rows(generate(model, batch))
    assert len(set(map(tuple, together))) > 1
    for row, expected in enumerate(together):
        own = batch["attention_mask"][row].bool()
        alone = {name: batch[name][row][own][None] for name in ("input_ids", "attention_mask")}
        assert rows(generate(model, alone)) == [expected]


@pytest.mark.parametrize("positions", [1, 400, 10_000])
def test_pieces_that_fit_into_memory_give_the_same(asked, positions, monkeypatch):
    model, batch = asked
    expected = generate(model, batch)
    sizes, whole = [], type(model).generate

    def counted(self, input_ids, **options):
        sizes.append(input_ids.shape)
        return whole(self, input_ids=input_ids, **options)

    monkeypatch.setattr(type(model), "generate", counted)
    monkeypatch.setitem(generation.MOST_POSITIONS, "cpu", positions)
    written = generate(model, batch)
    assert rows(written) == rows(expected) and written.shape[1] == expected.shape[1]
    assert sum(size for size, _ in sizes) == len(SOME)
    assert len(sizes) == {1: len(SOME), 10_000: 1}.get(positions, len(sizes))
    for size, width in sizes:  # rows x beams x (source + longest output)
        assert size == 1 or size * 3 * (width + 12) <= positions
    if positions == 1:  # each is as wide as its own row
        assert [width for _, width in sizes] == batch["attention_mask"].sum(1).tolist()


def test_other_entries_are_left_out_and_options_count(asked):
    model, batch = asked
    more = batch | {"labels": torch.ones(len(SOME), 2), "decoder_input_ids": torch.ones(len(SOME), 2)}
    assert torch.equal(generate(model, more), generate(model, batch))
    greedy = generate(model, batch, num_beams=1)
    model.generation_config.num_beams, model.generation_config.early_stopping = 1, False
    try:
        assert torch.equal(generate(model, batch), greedy)
    finally:
        model.generation_config.num_beams, model.generation_config.early_stopping = 3, True


def test_a_quick_evaluation_writes_little_and_the_same_in_any_batch(asked, monkeypatch):
    model, batch = asked
    monkeypatch.setattr(model.generation_config, "eos_token_id", None)  # it never ends
    own = longest_quick(batch["attention_mask"])
    together = cut_rows(generate(model, batch, num_beams=1, max_length=int(own.max()) + 2), own)
    assert [len(row) for row in rows(together)] == own.tolist()
    for i in range(len(SOME)):
        width = int(batch["attention_mask"][i].sum())
        alone = {name: value[i : i + 1, :width] for name, value in batch.items()}
        limit = longest_quick(alone["attention_mask"])
        written = cut_rows(generate(model, alone, num_beams=1, max_length=int(limit.max()) + 2), limit)
        assert rows(written) == rows(together[i : i + 1])
