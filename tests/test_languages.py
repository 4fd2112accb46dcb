"""Languages as models name them: found from what people write, put on the tokenizer, never mixed up."""

import pytest
from transformers import AutoConfig, AutoTokenizer
from transformers.models.m2m_100.tokenization_m2m_100 import FAIRSEQ_LANGUAGE_CODES as M2M_100
from transformers.models.mbart50.tokenization_mbart50 import FAIRSEQ_LANGUAGE_CODES as MBART_50
from transformers.models.nllb.tokenization_nllb import FAIRSEQ_LANGUAGE_CODES as NLLB
from translators import CHECKPOINTS, marian

from hf_kit.errors import UserError
from hf_kit.languages import default_prefix, find_language, language_tokens, set_languages

# As opus-mt-en-zh lists its targets.
OPUS = "cjy_Hans cjy_Hant cmn cmn_Hans cmn_Hant gan lzh lzh_Hans nan wuu yue yue_Hans yue_Hant".split()


@pytest.mark.parametrize(
    ("codes", "language", "expected"),
    [
        (MBART_50, "en", "en_XX"),
        (MBART_50, "zh", "zh_CN"),
        (MBART_50, "zh-CN", "zh_CN"),
        (MBART_50, "Chinese", "zh_CN"),
        (MBART_50, "zho_Hans", "zh_CN"),
        (M2M_100["m2m100"], "zh_CN", "zh"),
        (M2M_100["m2m100"], "eng_Latn", "en"),
        (M2M_100["m2m100"], "ZH", "zh"),
        (NLLB, "en", "eng_Latn"),
        (NLLB, "zh", "zho_Hans"),
        (NLLB, "zh_CN", "zho_Hans"),
        (NLLB, "cmn", "zho_Hans"),
        (NLLB, "zho-Hant", "zho_Hant"),
        (NLLB, "zh-TW", "zho_Hant"),
        (NLLB, "cmn_Hant", "zho_Hant"),
        (NLLB, "yue", "yue_Hant"),
        (NLLB, "ace_Arab", "ace_Arab"),
        (OPUS, "zh", "cmn_Hans"),
        (OPUS, "zh_TW", "cmn_Hant"),
        (OPUS, "yue", "yue"),
    ],
)
def test_a_model_s_own_code_is_found(codes, language, expected):
    assert find_language(language, codes, "target_lang") == expected


@pytest.mark.parametrize(
    ("codes", "language", "said"),
    [
        (NLLB, "ace", "it could be ace_Arab or ace_Latn."),
        (MBART_50, "yue", "it could be zh_CN."),
        (M2M_100["m2m100"], "zhh", "did you mean `zh`?"),
        (MBART_50, "tlh", "Its own: af_ZA, ar_AR"),
        (MBART_50, "tlh", "and 40 more"),
    ],
)
def test_a_language_that_is_none_or_several_is_an_error(codes, language, said):
    with pytest.raises(UserError) as error:
        find_language(language, codes, "target_lang")
    assert str(error.value).startswith(f"--target_lang {language}: ") and said in str(error.value)


@pytest.mark.parametrize(
    ("name", "source", "target", "begins"),
    [
        ("mbart", "en_XX", "zh_CN", None),
        ("mbart50", "en_XX", "zh_CN", "zh_CN"),
        ("m2m_100", "en", "zh", "__zh__"),
        ("nllb", "eng_Latn", "zho_Hans", "zho_Hans"),
    ],
)
def test_both_languages_are_told_to_the_tokenizer_and_saved_with_it(name, source, target, begins, tmp_path):
    model_type, _, make = CHECKPOINTS[name]
    tokenizer, config = make(tmp_path), AutoConfig.for_model(model_type)
    codes = language_tokens(tokenizer)
    assert source in codes and len(codes) >= 25
    found = set_languages(tokenizer, config, "en", "zh")
    assert found == (tokenizer.convert_tokens_to_ids(begins) if begins else None)
    if name == "mbart":
        assert config.decoder_start_token_id == tokenizer.convert_tokens_to_ids("zh_CN")
    tokenizer.save_pretrained("saved")
    for again in (tokenizer, AutoTokenizer.from_pretrained("saved")):
        assert (again.src_lang, again.tgt_lang) == (source, target)
        own, other = again("cat")["input_ids"], again(text_target="cat")["input_ids"]
        assert codes[source] in own and codes[target] in other and codes[target] not in own
    for missing in ("source_lang", "target_lang"):
        with pytest.raises(UserError, match=f"--{missing}: this {model_type} model knows several languages"):
            set_languages(tokenizer, config, *(("en", None) if missing == "target_lang" else (None, "zh")))


def test_a_tokenizer_of_one_pair_is_told_nothing(tmp_path):
    for name in ("marian", "bart", "t5"):
        (tmp_path / name).mkdir()
        model_type, _, make = CHECKPOINTS[name]
        assert set_languages(make(tmp_path / name), AutoConfig.for_model(model_type), None, None) is None


def test_t5_is_told_in_words_and_its_relatives_are_not(tmp_path, capsys):
    tokenizer = CHECKPOINTS["t5"][2](tmp_path)
    prefixes = {
        (model_type, source, target): default_prefix(tokenizer, AutoConfig.for_model(model_type), source, target)
        for model_type in ("t5", "mt5", "bart")
        for source, target in (("en", "zh_CN"), ("eng_Latn", "German"), ("en", "tlh"), (None, "zh"))
    }
    assert {key: prefix for key, prefix in prefixes.items() if prefix} == {
        ("t5", "en", "zh_CN"): "translate English to Chinese: ",
        ("t5", "eng_Latn", "German"): "translate English to German: ",
    }
    assert capsys.readouterr().err.count("Name --source_lang and --target_lang, or give --source_prefix") == 2


def test_marian_of_several_targets_is_told_by_a_mark(tmp_path):
    tokenizer = marian(tmp_path, marks=tuple(f">>{code}<<" for code in OPUS))
    config = AutoConfig.for_model("marian")
    prefix = default_prefix(tokenizer, config, "en", "zh")
    assert prefix == ">>cmn_Hans<< "
    assert tokenizer.convert_ids_to_tokens(tokenizer(f"{prefix}cat")["input_ids"]) == [">>cmn_Hans<<", "▁cat", "</s>"]
    with pytest.raises(UserError, match="--target_lang: this marian model knows several languages"):
        default_prefix(tokenizer, config, "en", None)
    with pytest.raises(UserError, match="--target_lang de: this model has no language of this name"):
        default_prefix(tokenizer, config, "en", "de")
    (tmp_path / "one").mkdir()
    assert default_prefix(marian(tmp_path / "one"), config, "en", None) == ""
