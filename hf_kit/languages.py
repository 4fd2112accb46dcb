"""Languages as models name them: `en` is `en_XX` to mBART-50, `eng_Latn` to NLLB, and words in a prefix to T5.

A model of several languages is told the source's by a token in its input, and the target's by the first token that it
writes (`forced_bos_token_id`) or that its decoder starts from (mBART of 25 languages). Marian's of several targets are
told by a mark before the source, `>>cmn_Hans<<`.
"""

import re
from collections.abc import Iterable

from transformers import PreTrainedConfig, PreTrainedTokenizerBase

from hf_kit import console
from hf_kit.data.languages import base_language
from hf_kit.errors import UserError, nearest

# By base code: the script that is meant where none is said; the name that T5 wants.
SCRIPTS = {"zh": "Hans"}
NAMES = {
    "en": "English",
    "zh": "Chinese",
    "de": "German",
    "fr": "French",
    "es": "Spanish",
    "ro": "Romanian",
    "ja": "Japanese",
    "ko": "Korean",
    "ru": "Russian",
}
SCRIPTS_OF_COUNTRIES = {"cn": "Hans", "sg": "Hans", "tw": "Hant", "hk": "Hant", "mo": "Hant"}
# Of Chinese, but not written as the others are: who says `zh` means none of them.
APART = frozenset(("yue", "wuu", "lzh"))
CODE_TOKEN = re.compile(r"[a-z]{2,3}_[A-Z][A-Za-z]{1,3}")


def language_tokens(tokenizer: PreTrainedTokenizerBase) -> dict[str, int]:
    """The languages that the tokenizer has tokens for, with their ids; empty for a tokenizer of one pair."""
    if not hasattr(tokenizer, "src_lang"):
        return {}
    codes = getattr(tokenizer, "lang_code_to_id", None)
    if codes:
        return dict(codes)
    found = [token for token in tokenizer.all_special_tokens if CODE_TOKEN.fullmatch(token)]
    return {token: tokenizer.convert_tokens_to_ids(token) for token in found}


def find_language(language: str, codes: Iterable[str], flag: str) -> str:
    """The tokenizer's own code for what a user wrote.

    Raises:
        UserError: none, or several, could be meant.
    """
    written = {"_".join(_parts(code)): code for code in codes}
    if "_".join(_parts(language)) in written:
        return written["_".join(_parts(language))]
    base, (_, *rest) = base_language(language), _parts(language)
    alike = sorted(code for code in codes if base is not None and base_language(code) == base)
    found = [code for code in alike if _apart(code) == _apart(language)]
    script = SCRIPTS_OF_COUNTRIES.get(rest[-1], rest[-1].title()) if rest else SCRIPTS.get(base)
    found = [code for code in found if code.endswith(f"_{script}")] or found
    if len(found) == 1:
        return found[0]
    alike = found or alike
    hint = f"; it could be {' or '.join(alike)}." if alike else nearest(language, codes)
    raise UserError(f"--{flag} {language}: this model has no language of this name{hint} Its own: {_listed(codes)}")


def _apart(code: str) -> str | None:
    first = _parts(code)[0]
    return first if first in APART else None


def _parts(code: str) -> list[str]:
    """`zh`, `hant` of `zh-Hant`."""
    return code.strip().lower().replace("-", "_").split("_")


def _listed(codes: Iterable[str]) -> str:
    names = sorted(codes)
    return ", ".join(names[:12]) + (f" and {len(names) - 12} more" if len(names) > 12 else "")


def set_languages(
    tokenizer: PreTrainedTokenizerBase, config: PreTrainedConfig, source: str | None, target: str | None
) -> int | None:
    """Tell a tokenizer of several languages which two are meant; the id of the token that every output begins with.

    None for a tokenizer of one pair. For mBART of 25 languages the configuration is told as well.

    Raises:
        UserError: a language that the model needs is not named, or is none of its own.
    """
    codes = language_tokens(tokenizer)
    if not codes:
        return None
    tokenizer.src_lang = _told(source, codes, "source_lang", config)
    tokenizer.tgt_lang = _told(target, codes, "target_lang", config)
    begins = codes[tokenizer.tgt_lang]
    if type(tokenizer).__name__.startswith("MBartTokenizer"):  # of 25 languages: the target's token stands at the end
        config.decoder_start_token_id = begins
        return None
    return begins


def _told(language: str | None, codes: Iterable[str], flag: str, config: PreTrainedConfig) -> str:
    if language is None:
        raise UserError(
            f"--{flag}: this {config.model_type} model knows several languages and must be told which one is meant. "
            f"Its own: {_listed(codes)}"
        )
    return find_language(language, codes, flag)


def default_prefix(
    tokenizer: PreTrainedTokenizerBase, config: PreTrainedConfig, source: str | None, target: str | None
) -> str:
    """What T5 was taught to be told before every source (Raffel et al. 2019, arXiv:1910.10683), and Marian's models of
    several targets (`>>cmn_Hans<< `); else nothing.

    Raises:
        UserError: a target that the model needs is not named, or is none of its own.
    """
    marks = {mark[2:-2]: mark for mark in getattr(tokenizer, "supported_language_codes", [])}
    if marks:
        return f"{marks[_told(target, marks, 'target_lang', config)]} "
    names = [NAMES.get(base_language(language)) for language in (source, target)]
    if config.model_type != "t5":
        return ""
    if None in names:
        console.warn(
            "T5 was taught to be told what to do (`translate English to German: `), and here it is not: the languages "
            "are not named, or not known by a name of its own. Name --source_lang and --target_lang, or give "
            "--source_prefix"
        )
        return ""
    return f"translate {names[0]} to {names[1]}: "
