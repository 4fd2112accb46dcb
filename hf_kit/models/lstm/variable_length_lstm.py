"""`nn.LSTM` for padded batches of texts of different lengths.

Deliberately different from `nn.LSTM` on a `PackedSequence`, with the same parameters and the same results: texts stay
in one dense, padded batch, because the fused CPU kernel takes no packed input and the ragged path is several times
slower. Nothing here waits for the device to tell a length.

Shapes: t steps, b texts, e width of the input, h hidden_dim, d = h or 2h (bidirectional).
"""

import warnings
from contextlib import nullcontext

import torch
from torch import nn

from .cpu_lstm import cpu_lstm_layer, has_kernel

# cuDNN copies the weights into one piece of memory at every call and warns of it. That they do not lie in one piece
# from the start is meant: see `VariableLengthLSTM.flatten_parameters`.
warnings.filterwarnings("ignore", message="RNN module weights are not part of single contiguous chunk of memory")


def rows_of_steps(order: torch.Tensor) -> torch.Tensor:
    """Where steps stand in `x.flatten(0, 1)` of an x [t, b, d].

    Args:
        order: [s, b], for each text the steps to take.

    Returns:
        [s*b]
    """
    return (order * order.shape[1] + torch.arange(order.shape[1], device=order.device)).flatten()


def take_steps(x: torch.Tensor, order: torch.Tensor) -> torch.Tensor:
    """Reorder the steps of each text: step j of text i becomes its step `order[j, i]`.

    Args:
        x: [t, b, d].
        order: [s, b]; s may be less than t.

    Returns:
        [s, b, d].
    """
    # As whole rows: on a CPU the backward of `gather` costs many times more.
    return x.flatten(0, 1).index_select(0, rows_of_steps(order)).view(*order.shape, x.shape[-1])


def weights_by_name(lstm: nn.LSTM, suffixes: list[str]) -> list[torch.Tensor]:
    """The weights of the directions `suffixes` (`l0`, `l0_reverse`, ...), four of each, as the kernels take them.

    To be asked for at every call: `nn.LSTM`'s own list of weights does not see parametrizations, through which PEFT's
    `target_parameters` works.
    """
    kinds = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    return [getattr(lstm, f"{kind}_{suffix}") for suffix in suffixes for kind in kinds]


def bf16_kernel_is_missing(device: torch.device) -> bool:
    """Whether bf16 autocast is on and the fused kernel cannot follow it.

    CPUs: oneDNN's LSTM raises without AVX512. cuDNN: autocast's wrapper (ATen/cudnn/AutocastRNN.cpp) casts to fp16
    whatever was asked for, and in a bf16 run no loss scaling keeps fp16 gradients from vanishing.
    """
    lacks_bf16 = device.type == "cuda" or (
        device.type == "cpu" and not torch.backends.cpu.get_cpu_capability().startswith("AVX512")
    )
    return (
        lacks_bf16
        and torch.is_autocast_enabled(device.type)
        and torch.get_autocast_dtype(device.type) is torch.bfloat16
    )


class VariableLengthLSTM(nn.LSTM):
    """`nn.LSTM` for padded batches: every text gets the states that it has alone.

    The parameters are `nn.LSTM`'s, names included. Valid steps come first in a row; the forward direction meets the
    padding only after them, and the backward direction reads a copy in which each text's own steps are reversed.
    """

    def flatten_parameters(self) -> None:
        """Leave the weights where they are.

        `nn.LSTM` makes them views of one storage on a GPU. Code that writes safetensors by storage then takes all but
        the first for duplicates and drops them (accelerate's `clean_state_dict_for_safetensors`).
        """

    def forward(self, x: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """
        Args:
            x: [b, t, e]. Fastest as the transposed view of a [t, b, e], which is what the kernels read.
            lengths: [b], from 1 to t.

        Returns:
            The last layer's states, [b, t, d], the transposed view of a [t, b, d]. What stands at and after a text's
            length has no meaning.

        Raises:
            RuntimeError: e is not the layer's `input_size`.
        """
        self.check_input(x, None)  # oneDNN's kernel would read past the end of a row
        x = x.transpose(0, 1)  # [t, b, e]
        steps = torch.arange(x.shape[0], device=x.device)[:, None]  # [t, 1]
        mirrored = lengths - 1 - steps  # [t, b]
        reversal = torch.where(mirrored >= 0, mirrored, steps)
        for layer in range(self.num_layers):
            if layer > 0:
                x = nn.functional.dropout(x, self.dropout, self.training)
            x = self._run(x, layer, reversal)  # [t, b, d]
        return x.transpose(0, 1)

    def _run(self, x: torch.Tensor, layer: int, reversal: torch.Tensor) -> torch.Tensor:
        """One layer: [t, b, e or d] -> [t, b, d]."""
        suffixes = [f"l{layer}", f"l{layer}_reverse"][: 1 + self.bidirectional]
        weights = weights_by_name(self, suffixes)
        precision = nullcontext()
        if bf16_kernel_is_missing(x.device):
            precision, x = torch.autocast(x.device.type, enabled=False), x.to(weights[0].dtype)
        with precision:
            dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else x.dtype
            if has_kernel(x, weights, dtype):
                return cpu_lstm_layer(x, weights, rows_of_steps(reversal), dtype)
            states = _one_direction(x, weights[:4])  # [t, b, h]
            if self.bidirectional:
                backward = _one_direction(take_steps(x, reversal), weights[4:])
                states = torch.cat([states, take_steps(backward, reversal)], dim=-1)  # [t, b, d]
        return states


def _one_direction(x: torch.Tensor, weights: list[torch.Tensor]) -> torch.Tensor:
    """[t, b, e or d] -> [t, b, h] on any device."""
    zeros = x.new_zeros(1, x.shape[1], weights[1].shape[1])
    # `train` only makes the kernel keep what a backward pass needs (its dropout is 0), and cuDNN refuses a backward
    # without it: gradients are wanted from a model in evaluation, too.
    return torch._VF.lstm(x, (zeros, zeros), weights, True, 1, 0.0, torch.is_grad_enabled(), False, False)[0]
