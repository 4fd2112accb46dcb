"""The LSTM text classifier, known to the Auto classes."""

from transformers import AutoConfig, AutoModelForSequenceClassification

from .configuration_lstm import LstmConfig
from .modeling_lstm import LstmForSequenceClassification

AutoConfig.register(LstmConfig.model_type, LstmConfig, exist_ok=True)
AutoModelForSequenceClassification.register(LstmConfig, LstmForSequenceClassification, exist_ok=True)
# Saves the code beside the weights, so that a folder loads where this package is not installed.
LstmConfig.register_for_auto_class()
LstmForSequenceClassification.register_for_auto_class("AutoModelForSequenceClassification")

__all__ = ["LstmConfig", "LstmForSequenceClassification"]
