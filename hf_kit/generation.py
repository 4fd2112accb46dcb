"""What an encoder-decoder writes: `generate` over a batch, in pieces that fit into memory.

How it writes (beams, lengths, forced tokens) is in the model's `generation_config`, which is saved beside the weights:
`generate` of transformers, called by anybody, gives the same.
"""

import torch
import torch.distributed
from torch import Tensor
from transformers import PreTrainedModel

from hf_kit.token_loss import IGNORED

# Positions held at a time: rows x beams x (source + longest output). Keys and values of a position of a model of
# 12 layers and 1,024 dimensions are 100 KB in float32.
MOST_POSITIONS = {"cpu": 2**16, "cuda": 2**18, "mps": 2**17}


@torch.inference_mode()
def generate(model: PreTrainedModel, batch: dict[str, Tensor], **options) -> Tensor:
    """The ids written for each row of `batch`, `[b, t]`: without the decoder's start token, padded with -100.

    Args:
        batch: `input_ids` and `attention_mask` `[b, s]`; other entries are left out.
        options: of `generate`, in place of those of `generation_config`.
    """
    ids, mask = batch["input_ids"], batch["attention_mask"]
    config = model.generation_config
    beams = options.get("num_beams") or config.num_beams or 1
    longest = options.get("max_length") or config.max_length or config.max_new_tokens
    size = max(1, MOST_POSITIONS[ids.device.type] // (beams * (ids.shape[1] + longest)))
    if options.get("synced_gpus"):  # a sharded model, which all processes call equally often
        least = torch.tensor(size, device=ids.device)
        torch.distributed.all_reduce(least, torch.distributed.ReduceOp.MIN)
        size = int(least)
    # Left to itself, transformers waits for the other processes wherever ZeRO-3 is in use: also where one alone asks a
    # whole model.
    options = {"synced_gpus": False} | options
    pieces = []
    for start in range(0, len(ids), size):
        own_mask = mask[start : start + size]
        width = int(own_mask.any(0).nonzero().max()) + 1  # the widest row of the piece
        own = {"input_ids": ids[start : start + size, :width], "attention_mask": own_mask[:, :width]}
        pieces.append(_without_frame(model.generate(**own, **options)[:, 1:], config.eos_token_id))
    widest = max(piece.shape[1] for piece in pieces)
    return torch.cat([torch.nn.functional.pad(piece, (0, widest - piece.shape[1]), value=IGNORED) for piece in pieces])


def _without_frame(written: Tensor, eos: int | list[int] | None) -> Tensor:
    """-100 for what stands after the first end of each row of `[b, t]`: `generate` fills with one token or another."""
    ends = torch.isin(written, torch.tensor(eos if eos is not None else [], device=written.device, dtype=torch.long))
    after = ends.cumsum(1) - ends.long() > 0  # [b, t]
    return written.masked_fill(after, IGNORED)


def longest_quick(mask: Tensor) -> Tensor:
    """The most tokens that an evaluation while training writes for each row, `[b]`; `mask` is the source's, `[b, s]`.

    A model that has not learned to end would fill every row up to the longest output there may be, at the cost of
    epochs of training. No translation is so much longer than its source.
    """
    return 2 * mask.sum(1) + 10


def cut_rows(written: Tensor, longest: Tensor) -> Tensor:
    """`written` `[b, t]`, each row to its own `longest` `[b]`: what it is then depends on no other row of the batch."""
    places = torch.arange(written.shape[1], device=written.device)
    return written.masked_fill(places >= longest[:, None], IGNORED)
