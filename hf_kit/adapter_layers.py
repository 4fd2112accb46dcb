"""PEFT's LoRA on a linear layer, with less work around the matrix products under autocast.

PEFT computes `W x + s B A dropout(x)` with the input cast to the adapter's float32, which autocast casts back, and with
the scale `s` multiplied into the full width of the output. Here the input is cast once, for `W` and `A` alike, and `s`
is multiplied into the `r` numbers between `A` and `B`. Every layer still draws a dropout mask of its own.
"""

import torch
from peft.tuners.lora import Linear
from torch import Tensor, nn


class LeanLoraLinear(Linear):
    """PEFT's layer, with the same parameters and names; differs within the rounding of autocast's format."""

    def forward(self, x: Tensor, *args, **kwargs) -> Tensor:
        """x [..., in] -> [..., out]."""
        device = x.device.type
        names = [name for name in self.active_adapters if name in self.lora_A]
        plain = len(names) == 1 and not (self.lora_variant or self.disable_adapters or self.merged or args or kwargs)
        if not plain or not torch.is_autocast_enabled(device):
            return super().forward(x, *args, **kwargs)
        (name,) = names
        x = x.to(torch.get_autocast_dtype(device))
        low = self.lora_A[name](self.lora_dropout[name](x)) * self.scaling[name]  # [..., r]
        return self.base_layer(x) + self.lora_B[name](low)


def lighten_adapters(model: nn.Module) -> None:
    """Let the linear layers that PEFT has put into `model` compute as `LeanLoraLinear`."""
    for module in model.modules():
        if type(module) is Linear:
            module.__class__ = LeanLoraLinear
