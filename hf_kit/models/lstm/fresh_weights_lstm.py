"""How fresh weights are drawn, the same for all models of this folder."""

import torch
from torch import nn
from transformers import initialization as init


@torch.no_grad()
def draw_fresh_weights(module: nn.Module, embedding_std: float) -> None:
    """What `_init_weights` does to one module: an embedding, a linear layer or an LSTM; others are left alone.

    Weights that were loaded stay as they are.

    Args:
        embedding_std: standard deviation of token vectors.
    """
    # A tensor is finished first and then copied: only `init.copy_` on the whole parameter sees the flag that marks
    # weights as loaded; a write to a slice would overwrite them.
    if isinstance(module, nn.Embedding):
        vectors = torch.empty_like(module.weight).normal_(std=embedding_std)
        if module.padding_idx is not None:
            vectors[module.padding_idx] = 0
        init.copy_(module.weight, vectors)
    elif isinstance(module, nn.Linear):
        init.xavier_uniform_(module.weight)
        if module.bias is not None:
            init.zeros_(module.bias)
    elif isinstance(module, nn.LSTM):
        for name, parameter in module.named_parameters():
            gates = torch.zeros_like(parameter).chunk(4)  # input, forget, cell, output
            if name.startswith("weight_ih"):
                for gate in gates:
                    init.xavier_uniform_(gate)
            elif name.startswith("weight_hh"):
                for gate in gates:
                    init.orthogonal_(gate)
            elif name.startswith("bias_ih"):
                # The two biases are added, so that the forget gate starts at 1: it remembers (Jozefowicz et al.
                # 2015, proceedings.mlr.press/v37/jozefowicz15).
                gates[1].fill_(1.0)
            init.copy_(parameter, torch.cat(gates))


__all__ = ["draw_fresh_weights"]
