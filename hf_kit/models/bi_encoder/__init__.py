"""The bi-encoder, known to the Auto classes: two texts read apart by one encoder, then compared."""

from transformers import AutoConfig, AutoModelForSequenceClassification

from .configuration_bi_encoder import BiEncoderConfig
from .modeling_bi_encoder import BiEncoderForSequenceClassification

AutoConfig.register(BiEncoderConfig.model_type, BiEncoderConfig, exist_ok=True)
AutoModelForSequenceClassification.register(BiEncoderConfig, BiEncoderForSequenceClassification, exist_ok=True)
# Saves the code beside the weights, so that a folder loads where this package is not installed.
BiEncoderConfig.register_for_auto_class()
BiEncoderForSequenceClassification.register_for_auto_class("AutoModelForSequenceClassification")

__all__ = ["BiEncoderConfig", "BiEncoderForSequenceClassification"]
