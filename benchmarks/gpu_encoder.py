"""Training speed of a BERT-base-sized encoder on one GPU: unpadded against padded, and `torch.compile`.

    python benchmarks/gpu_encoder.py

Random weights: only the speed is measured (see `gpu_timing.py`). Operations of a step, going forward once and backward
twice: 6 x entries of the layers' matrices x real tokens + 12 x layers x width x sum of the squared lengths (attention).
Writes `gpu_encoder.md`.
"""

from collections.abc import Callable

import torch
from gpu_timing import LENGTHS, VOCABULARY, draw_lengths, gpu, make_batches, matrix_rate, rows, trainer, write
from transformers import BertConfig, BertForSequenceClassification

from hf_kit import unpadding
from hf_kit.packed_attention import kernel_fault

BASE = {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3072}


def encoder_block(name: str, device: torch.device, rate: float, shape: dict[str, int] = BASE) -> list[str]:
    """The encoder's variants on texts of this length mix."""
    lengths, size = draw_lengths(name), LENGTHS[name][2]
    config = BertConfig(**shape, vocab_size=VOCABULARY)  # dropout is on, at the stock rate of 0.1
    head_size = config.hidden_size // config.num_attention_heads

    def variant(by_length: bool, unpad: bool = False, multiple: int = 1) -> Callable[[], float]:
        torch.manual_seed(0)
        model = BertForSequenceClassification(config)
        if unpad:
            if fault := kernel_fault(device, torch.bfloat16, config.num_attention_heads, head_size):
                raise RuntimeError(fault)
            unpadding.unpad(model)
        if multiple > 1:
            model.compile(dynamic=False)
        return trainer(model, make_batches(lengths, size, by_length, device, multiple))

    matrices = BertForSequenceClassification(config).bert.encoder.parameters()
    per_token = 6 * sum(weight.numel() for weight in matrices if weight.dim() > 1)
    attention = 12 * config.num_hidden_layers * config.hidden_size * (lengths**2).sum() / lengths.sum()
    variants = {
        "stock: padded, random order": lambda: variant(False),
        "padded, by length": lambda: variant(True),
        "unpadded, random order": lambda: variant(False, unpad=True),
        "unpadded, by length (the kit)": lambda: variant(True, unpad=True),
        "padded to multiples of 64, by length, torch.compile": lambda: variant(True, multiple=64),
    }
    return rows(variants, per_token + attention, rate)


def main() -> None:
    device = gpu(__file__)
    rate = matrix_rate(device)
    tables = {f"{name}, {LENGTHS[name][2]} texts a batch": encoder_block(name, device, rate) for name in LENGTHS}
    write(__file__, rate, tables)


if __name__ == "__main__":
    main()
