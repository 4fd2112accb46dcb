"""`nn.LSTM` that goes on from a state, for a decoder: the whole target at once in training, one token in generation."""

from contextlib import nullcontext

import torch
from torch import nn

from .variable_length_lstm import bf16_kernel_is_missing, weights_by_name


class ContinuedLSTM(nn.LSTM):
    """`nn.LSTM` in one direction, through the fused kernels of CPUs and GPUs in every case.

    The parameters are `nn.LSTM`'s, names included. Deliberately different: they are read where parametrizations put
    them (see `weights_by_name`), stay where they are, and bf16 goes only where a kernel can follow.
    """

    def flatten_parameters(self) -> None:
        """Leave the weights where they are (see `VariableLengthLSTM.flatten_parameters`)."""

    def forward(
        self, x: torch.Tensor, state: tuple[torch.Tensor, torch.Tensor]
    ) -> tuple[torch.Tensor, tuple[torch.Tensor, torch.Tensor]]:
        """
        Args:
            x: [t, b, e].
            state: the hidden and the cell state before the first step, [l, b, h] each.

        Returns:
            The last layer's states, [t, b, h], and the state after the last step.
        """
        weights = weights_by_name(self, [f"l{layer}" for layer in range(self.num_layers)])
        # cuDNN's dropout between layers has a state of its own, which no checkpoint holds.
        layer_by_layer = self.training and self.dropout > 0 and self.num_layers > 1
        # Here `train` also makes the kernel keep what a backward pass needs, which a model in evaluation may want, too.
        train = self.training or torch.is_grad_enabled()
        missing = bf16_kernel_is_missing(x.device)
        with torch.autocast(x.device.type, enabled=False) if missing else nullcontext():
            x, hidden, cell = (tensor.to(weights[0].dtype) for tensor in (x, *state))
            if not layer_by_layer:
                states, *after = torch._VF.lstm(
                    x, (hidden, cell), weights, True, self.num_layers, 0.0, train, False, False
                )
                return states, tuple(after)
            each, after = len(weights) // self.num_layers, []
            for layer in range(self.num_layers):
                own, start = weights[layer * each : (layer + 1) * each], slice(layer, layer + 1)
                x, *ends = torch._VF.lstm(x, (hidden[start], cell[start]), own, True, 1, 0.0, train, False, False)
                after.append(ends)
                if layer < self.num_layers - 1:
                    x = nn.functional.dropout(x, self.dropout)
            hidden, cell = (torch.cat(ends) for ends in zip(*after, strict=True))
        return x, (hidden, cell)


__all__ = ["ContinuedLSTM"]
