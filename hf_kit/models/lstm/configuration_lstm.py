"""Configuration of the LSTM text classifier.

The defaults are the classic model's: `TextClassifier(vocab_size=10000, embedding_dim=128, hidden_dim=256,
num_classes=2)`, one layer in one direction, a linear head over the last step.
"""

from huggingface_hub.dataclasses import strict
from transformers import PreTrainedConfig
from transformers.activations import ACT2FN

POOLINGS = ("last", "mean", "max", "attention")


@strict
class LstmConfig(PreTrainedConfig):
    r"""
    Configuration of [`LstmForSequenceClassification`].

    Args:
        vocab_size (`int`, defaults to 10000): Number of tokens.
        embedding_dim (`int`, defaults to 128): Width of a token's vector.
        hidden_dim (`int`, defaults to 256): Width of one direction's state. `hidden_size` is another name for it.
        num_layers (`int`, defaults to 1): Number of stacked recurrent layers.
        bidirectional (`bool`, defaults to `False`): Also read the text from its end; states are then twice as wide.
        embedding_dropout (`float`, defaults to 0): Dropout on the token vectors.
        lstm_dropout (`float`, defaults to 0): Dropout between recurrent layers; without effect on a single one.
        classifier_dropout (`float`, defaults to 0): Dropout on the pooled text vector.
        pooling (`str`, defaults to `"last"`): How the states become one vector. `"last"`: the state after the last
            valid step, of the backward direction the one at position 0; `"mean"` and `"max"` over valid steps;
            `"attention"`: learned weights over valid steps.
        classifier_hidden_dim (`int`, defaults to 0): Width of a hidden layer in the head; 0 is a head of one linear
            layer.
        classifier_activation (`str`, defaults to `"relu"`): The hidden layer's activation, a name of transformers'
            `ACT2FN`.
        initializer_range (`float`, defaults to 0.1): Standard deviation of fresh token vectors. `nn.Embedding`'s own
            1.0 learns worse: the random part of a rare word's vector outweighs what training adds.
        freeze_embeddings (`bool`, defaults to `False`): Never train the token vectors, also after `from_pretrained`.
        pad_token_id (`int`, defaults to 0): The token that fills up a batch; its vector stays zero.

    Raises:
        ValueError: a value out of its range, a pooling or an activation that does not exist. Raised here and, for a
            value that was set later, when the model is built.
    """

    model_type = "hf_kit_lstm"
    attribute_map = {"hidden_size": "hidden_dim"}

    vocab_size: int = 10000
    embedding_dim: int = 128
    hidden_dim: int = 256
    num_layers: int = 1
    bidirectional: bool = False
    embedding_dropout: float | int = 0.0
    lstm_dropout: float | int = 0.0
    classifier_dropout: float | int = 0.0
    pooling: str = "last"
    classifier_hidden_dim: int = 0
    classifier_activation: str = "relu"
    initializer_range: float | int = 0.1
    freeze_embeddings: bool = False
    pad_token_id: int = 0

    def __post_init__(self, **kwargs):
        super().__post_init__(**kwargs)
        # `@strict` runs the method below by itself, but wraps its ValueError in an exception that is none.
        self.validate_values()

    def validate_values(self) -> None:
        """Raises `ValueError` with the field, its value and what is allowed."""

        def check(name: str, holds: bool, allowed: str) -> None:
            if not holds:
                raise ValueError(f"LstmConfig.{name} = {getattr(self, name)!r}; allowed: {allowed}")

        for name in ("vocab_size", "embedding_dim", "hidden_dim", "num_layers"):
            check(name, getattr(self, name) >= 1, "a whole number from 1")
        check("classifier_hidden_dim", self.classifier_hidden_dim >= 0, "a whole number from 0 (0: no hidden layer)")
        for name in ("embedding_dropout", "lstm_dropout", "classifier_dropout"):
            check(name, 0 <= getattr(self, name) < 1, "a number from 0 to less than 1")
        check("pooling", self.pooling in POOLINGS, ", ".join(POOLINGS))
        check("classifier_activation", self.classifier_activation in ACT2FN, ", ".join(sorted(ACT2FN)))
        check("initializer_range", self.initializer_range > 0, "a number greater than 0")
        check("pad_token_id", 0 <= self.pad_token_id < self.vocab_size, f"0 to {self.vocab_size - 1} (vocab_size - 1)")


__all__ = ["LstmConfig"]
