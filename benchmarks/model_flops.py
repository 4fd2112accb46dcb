"""What a training step's arithmetic on real tokens comes to; padding, dropout and recomputing do not count.

A weight takes part in one multiply-add per token going forward and two going backward (its own gradient and that of its
input): 6 operations. Kaplan et al. 2020, Scaling laws for neural language models (arXiv:2001.08361), section 2.1.
"""

from collections.abc import Sequence

ENCODER_FORMULA = (
    "6 x parameters of the layers x real tokens + 6 x parameters of pooler and head x texts "
    "+ 12 x layers x width x sum of the squared lengths (attention)"
)
LSTM_FORMULA = "6 x entries of the LSTM's matrices (both directions) x real tokens"


def encoder_flops(lengths: Sequence[int], layers: int, width: int, layer_parameters: int, text_parameters: int) -> int:
    """Of training once on texts of these lengths.

    Args:
        layer_parameters: of all layers together, used once a token.
        text_parameters: of pooler and head, used once a text.

    Attention: scores and weighted sum are two products of 2 x length^2 x width operations, three times (forward once,
    backward twice).
    """
    per_text = 6 * text_parameters * len(lengths)
    attention = 12 * layers * width * sum(length * length for length in lengths)
    return 6 * layer_parameters * sum(lengths) + per_text + attention


def lstm_flops(lengths: Sequence[int], embedding_dim: int, hidden_dim: int, directions: int) -> int:
    """Of training once on texts of these lengths: four gates, each reading a token's vector and the last state."""
    return 6 * directions * 4 * hidden_dim * (embedding_dim + hidden_dim) * sum(lengths)
