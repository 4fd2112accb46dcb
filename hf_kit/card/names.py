"""What a card calls the model, its data and its base: plain text for metadata, Markdown for sentences."""

import re
from urllib.parse import quote

from transformers.models.whisper.tokenization_whisper import LANGUAGES  # code to English name, of a hundred

from hf_kit.card.escaping import shown
from hf_kit.card.facts import Facts

HUB = "https://huggingface.co"
# What a run without data of its own was trained on: its name, and the same within a sentence.
SAMPLES = {
    "text": (
        "hf_kit sample reviews",
        "the sample that comes with hf_kit: short reviews, English and Chinese, half of them positive",
    ),
    "image": ("handwritten digits", "the handwritten digits that come with scikit-learn, 8 by 8 pixels each"),
}
# What ends the name of a class that writes texts; the beginnings of names, and of those said letter by letter.
WRITER = re.compile("(?:MTModel|ForConditionalGeneration)$")
SPOKEN_WITH_A_VOWEL = re.compile("[AEIO]|[FLMNRSX](?![a-z])")


def title(facts: Facts) -> str:
    """Of the card and in its model index."""
    if facts.repo_id:
        return facts.repo_id.rpartition("/")[2]
    return f"{facts.config.get('model_type', 'model')} on {data_name(facts)}"


def data_name(facts: Facts) -> str:
    """The data set's id, or what its folder or its training file is called."""
    data = facts.data
    if "id" in data:
        return data["id"]
    if data.get("sample"):
        return SAMPLES[facts.noun][0]
    return data.get("folder") or data.get("files", {}).get("train") or "unknown data"


def data_phrase(facts: Facts) -> str:
    """The same within a sentence, with what leads there."""
    data = facts.data
    if "id" in data:
        config = f", configuration {shown(data['config'])}" if data.get("config") else ""
        revision = f", revision {shown(data['revision'], 12)}" if data.get("revision") else ""
        return f"[{shown(data['id'])}]({HUB}/datasets/{quote(data['id'])}){config}{revision}"
    if data.get("sample"):
        return SAMPLES[facts.noun][1]
    if "folder" in data:
        return f"{shown(data['folder'])} (files of its owner, not on the Hub)"
    if "files" in data:
        return f"{', '.join(map(shown, data['files'].values()))} (files of its owner, not on the Hub)"
    return "data that the run folder does not name"


def base_phrase(facts: Facts) -> str | None:
    """The base model within a sentence; None for a model that was trained from nothing."""
    base = facts.base
    if "id" in base:
        revision = f" (revision {shown(base['revision'], 12)})" if base.get("revision") else ""
        return f"[{shown(base['id'])}]({HUB}/{quote(base['id'])}){revision}"
    return f"{shown(base['folder'])} (a folder of its owner, not on the Hub)" if "folder" in base else None


def architecture(facts: Facts) -> str:
    """With its article."""
    kind = facts.config.get("model_type")
    if kind == "hf_kit_lstm":
        return "a bidirectional LSTM" if facts.config.get("bidirectional") else "an LSTM"
    if kind == "hf_kit_lstm_seq2seq":
        return "an LSTM encoder-decoder with attention"
    if kind == "hf_kit_bi_encoder":
        pooled = "mean over its tokens" if facts.config.get("pooling") == "mean" else "first token's state"
        return f"a bi-encoder ({facts.config['text_config'].get('model_type')}; a text's embedding is the {pooled})"
    name = (facts.config.get("architectures") or ["model"])[0]
    if facts.translates:
        name = WRITER.sub(" model", name)
    return f"{'an' if SPOKEN_WITH_A_VOWEL.match(name) else 'a'} {name}"


def language_name(code: str) -> str:
    """In English, where it is one of the larger languages."""
    return LANGUAGES[code].title() if code in LANGUAGES else f"*{shown(code)}*"


def translation_phrase(facts: Facts) -> str:
    """From what into what, where both are known."""
    codes = facts.origin.get("languages", [])
    names = [language_name(code) for code in codes]
    return f"from {names[0]} to {names[1]}" if len(names) == 2 else "into another language"
