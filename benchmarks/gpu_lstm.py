"""Training speed of the LSTM under cuDNN on one GPU, against packed sequences; and LoRA on it, merged and compared.

    python benchmarks/gpu_lstm.py

Operations of a step, going forward once and backward twice: 6 x entries of the LSTM's matrices x real tokens (see
`gpu_timing.py`). Writes `gpu_lstm.md`.
"""

import copy
from collections.abc import Callable

import torch
from gpu_timing import VOCABULARY, draw_lengths, gpu, make_batches, matrix_rate, rows, trainer, write
from peft import LoraConfig, get_peft_model
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from hf_kit.models.lstm import LstmConfig, LstmForSequenceClassification
from hf_kit.models.lstm.finetuning_lstm import lora_target_parameters


class PackedLSTM(nn.LSTM):
    """As the kit's `VariableLengthLSTM`, on a PackedSequence: what tutorials print."""

    def forward(self, x: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        packed = pack_padded_sequence(x, lengths.cpu(), batch_first=True, enforce_sorted=False)
        return pad_packed_sequence(super().forward(packed)[0], batch_first=True, total_length=x.shape[1])[0]


def lstm_block(device: torch.device, rate: float) -> list[str]:
    """A bidirectional LSTM, 128 to 256, on imdb cut at 256 tokens, 64 texts a batch; and LoRA on it."""
    lengths = draw_lengths("imdb").clip(max=256)
    config = LstmConfig(vocab_size=VOCABULARY, bidirectional=True, pooling="max")
    batches = make_batches(lengths, 64, True, device)

    def packed(bf16: bool) -> Callable[[], float]:
        model = LstmForSequenceClassification(config)
        model.lstm = PackedLSTM(config.embedding_dim, config.hidden_dim, batch_first=True, bidirectional=True)
        return trainer(model, batches, bf16)

    def lora() -> Callable[[], float]:
        model = LstmForSequenceClassification(config)
        targets = lora_target_parameters(model)
        adapter = LoraConfig(target_modules=[], target_parameters=targets, modules_to_save=["classifier"])
        adapted = get_peft_model(model, adapter)
        measure = trainer(adapted, batches)
        adapted.eval()
        inputs = {name: batches[0][name] for name in ("input_ids", "attention_mask")}
        with torch.inference_mode():
            before = adapted(**inputs).logits
            twin = copy.deepcopy(adapted).merge_and_unload()
            torch.testing.assert_close(twin(**inputs).logits, before, rtol=1e-3, atol=1e-4)
        adapted.train()
        return measure

    variants = {
        "nn.LSTM on packed sequences, fp32": lambda: packed(False),
        "nn.LSTM on packed sequences, bf16": lambda: packed(True),
        "the kit, fp32": lambda: trainer(LstmForSequenceClassification(config), batches, bf16=False),
        "the kit, bf16": lambda: trainer(LstmForSequenceClassification(config), batches),
        "the kit, bf16, LoRA (merged: the same logits)": lora,
    }
    matrices = 2 * 4 * config.hidden_dim * (config.embedding_dim + config.hidden_dim)
    return rows(variants, 6 * matrices, rate)


def main() -> None:
    device = gpu(__file__)
    rate = matrix_rate(device)
    tables = {"BiLSTM 128/256, imdb cut at 256 tokens, 64 texts a batch": lstm_block(device, rate)}
    write(__file__, rate, tables)


if __name__ == "__main__":
    main()
