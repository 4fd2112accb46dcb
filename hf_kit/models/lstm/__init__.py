"""The LSTM's models, known to the Auto classes: the text classifier and the encoder-decoder."""

from transformers import AutoConfig, AutoModelForSeq2SeqLM, AutoModelForSequenceClassification

from .configuration_lstm import LstmConfig
from .configuration_lstm_seq2seq import LstmSeq2SeqConfig
from .modeling_lstm import LstmForSequenceClassification
from .modeling_lstm_seq2seq import LstmForConditionalGeneration

for auto_class, config_class, model_class in (
    (AutoModelForSequenceClassification, LstmConfig, LstmForSequenceClassification),
    (AutoModelForSeq2SeqLM, LstmSeq2SeqConfig, LstmForConditionalGeneration),
):
    AutoConfig.register(config_class.model_type, config_class, exist_ok=True)
    auto_class.register(config_class, model_class, exist_ok=True)
    # Saves the code beside the weights, so that a folder loads where this package is not installed.
    config_class.register_for_auto_class()
    model_class.register_for_auto_class(auto_class.__name__)

__all__ = ["LstmConfig", "LstmForConditionalGeneration", "LstmForSequenceClassification", "LstmSeq2SeqConfig"]
