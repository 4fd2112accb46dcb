"""The last layer of a model that answers with a number, in float32 whatever autocast computes in.

bf16 has eight significant bits: of numbers from 4 to 5 it knows every 32nd of one, of years every eighth. Under
autocast a head's number would be rounded so before the loss sees it, and before a user does. The layer is small; its
exact computation costs nothing.
"""

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel


class ExactLinear(nn.Linear):
    """`nn.Linear` in float32, with the same parameters and names."""

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            bias = None if self.bias is None else self.bias.float()
            return nn.functional.linear(x.float(), self.weight.float(), bias)


def compute_numbers_exactly(model: PreTrainedModel) -> None:
    """Let the layer of `model` that gives its number be an `ExactLinear`; models with other answers stay as they are.

    To be called before adapters are put into it.
    """
    if model.config.problem_type != "regression":
        return
    for module in model.modules():
        if type(module) is nn.Linear and module.out_features == model.config.num_labels:
            module.__class__ = ExactLinear
