"""Configuration of the bi-encoder for pairs of texts."""

from huggingface_hub.dataclasses import strict
from transformers import AutoConfig, PreTrainedConfig

POOLINGS = ("mean", "first")


@strict
class BiEncoderConfig(PreTrainedConfig):
    r"""
    Configuration of [`BiEncoderForSequenceClassification`].

    Args:
        text_config (`PreTrainedConfig` or `dict`): That of the encoder, of any family that `AutoModel` knows and whose
            tokenizer frames a text and ends it with a separator.
        pooling (`str`, defaults to `"mean"`): How a text's states become its embedding: `"mean"` over its tokens, or
            the `"first"` token's.
        pad_token_id (`int`, defaults to 0): The token that fills up a batch.
        cls_token_id (`int`, defaults to 101): The token before a text.
        sep_token_id (`int`, defaults to 102): The token after a text.
        doubled_separator (`bool`, defaults to `False`): Two of them stand between the texts of a pair (RoBERTa's kind).

    Raises:
        ValueError: no encoder, or a pooling that does not exist.
    """

    model_type = "hf_kit_bi_encoder"
    sub_configs = {"text_config": AutoConfig}

    text_config: dict | PreTrainedConfig | None = None
    pooling: str = "mean"
    pad_token_id: int = 0
    cls_token_id: int = 101
    sep_token_id: int = 102
    doubled_separator: bool = False

    def __post_init__(self, **kwargs):
        if isinstance(self.text_config, dict):
            own = dict(self.text_config)
            self.text_config = AutoConfig.for_model(own.pop("model_type"), **own)
        super().__post_init__(**kwargs)
        # `@strict` runs the method below by itself, but wraps its ValueError in an exception that is none.
        self.validate_values()

    def validate_values(self) -> None:
        """Raises `ValueError` with the field, its value and what is allowed."""
        if self.pooling not in POOLINGS:
            raise ValueError(f"BiEncoderConfig.pooling = {self.pooling!r}; allowed: {', '.join(POOLINGS)}")


__all__ = ["BiEncoderConfig"]
