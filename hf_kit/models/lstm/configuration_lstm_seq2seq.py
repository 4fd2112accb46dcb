"""Configuration of the LSTM encoder-decoder with attention."""

from huggingface_hub.dataclasses import strict
from transformers import PreTrainedConfig


@strict
class LstmSeq2SeqConfig(PreTrainedConfig):
    r"""
    Configuration of [`LstmForConditionalGeneration`].

    Args:
        vocab_size (`int`, defaults to 8000): Number of tokens, of both languages together.
        embedding_dim (`int`, defaults to 512): Width of a token's vector, and of what the output layer reads.
        hidden_dim (`int`, defaults to 512): Width of a state, an even number: the encoder's two directions have half
            of it each. `hidden_size` and `d_model` are other names for it.
        num_layers (`int`, defaults to 2): Number of stacked recurrent layers of the encoder, and of the decoder.
        embedding_dropout (`float`, defaults to 0.3): Dropout on the token vectors of both sides.
        lstm_dropout (`float`, defaults to 0.3): Dropout between recurrent layers; without effect on a single one.
        output_dropout (`float`, defaults to 0.3): Dropout on what the output layer reads.
        initializer_range (`float`, defaults to 0.1): Standard deviation of fresh token vectors.
        pad_token_id (`int`, defaults to 0): The token that fills up a batch.
        bos_token_id (`int`, *optional*): The token that begins a text, where the tokenizer has one.
        eos_token_id (`int`, defaults to 2): The token that ends a text, at which `generate` stops.
        decoder_start_token_id (`int`, defaults to 0): The token from which the decoder starts; as in Marian the
            padding.
        tie_word_embeddings (`bool`, defaults to `True`): The output layer's weights are the token vectors (Press and
            Wolf 2017, arXiv:1608.05859).

    Raises:
        ValueError: a value out of its range. Raised here and, for a value that was set later, when the model is built.
    """

    model_type = "hf_kit_lstm_seq2seq"
    attribute_map = {"hidden_size": "hidden_dim", "d_model": "hidden_dim"}
    # By its names in transformers from 5.5 on.
    keys_to_ignore_at_inference = ["cache", "past_key_values"]

    vocab_size: int = 8000
    embedding_dim: int = 512
    hidden_dim: int = 512
    num_layers: int = 2
    embedding_dropout: float | int = 0.3
    lstm_dropout: float | int = 0.3
    output_dropout: float | int = 0.3
    initializer_range: float | int = 0.1
    pad_token_id: int = 0
    bos_token_id: int | None = None
    eos_token_id: int = 2
    decoder_start_token_id: int = 0
    tie_word_embeddings: bool = True
    is_encoder_decoder: bool = True
    use_cache: bool = True

    def __post_init__(self, **kwargs):
        super().__post_init__(**kwargs)
        # `@strict` runs the method below by itself, but wraps its ValueError in an exception that is none.
        self.validate_values()

    def validate_values(self) -> None:
        """Raises `ValueError` with the field, its value and what is allowed."""

        def check(name: str, holds: bool, allowed: str) -> None:
            if not holds:
                raise ValueError(f"LstmSeq2SeqConfig.{name} = {getattr(self, name)!r}; allowed: {allowed}")

        for name in ("vocab_size", "embedding_dim", "num_layers"):
            check(name, getattr(self, name) >= 1, "a whole number from 1")
        check("hidden_dim", self.hidden_dim >= 2 and self.hidden_dim % 2 == 0, "an even number from 2")
        for name in ("embedding_dropout", "lstm_dropout", "output_dropout"):
            check(name, 0 <= getattr(self, name) < 1, "a number from 0 to less than 1")
        check("initializer_range", self.initializer_range > 0, "a number greater than 0")
        for name in ("pad_token_id", "eos_token_id", "decoder_start_token_id"):
            token = getattr(self, name)
            check(name, 0 <= token < self.vocab_size, f"0 to {self.vocab_size - 1} (vocab_size - 1)")
        check("is_encoder_decoder", self.is_encoder_decoder, "True")


__all__ = ["LstmSeq2SeqConfig"]
