"""Which columns hold a text and its translation, and in which languages: by their usual names, else asked for."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from datasets import Dataset, Json, Translation, TranslationVariableLanguages, Value

from hf_kit.data.arrow_columns import column_array, name_rows
from hf_kit.data.columns import NEVER_TEXT, is_string, listed
from hf_kit.data.languages import base_language, language_of
from hf_kit.errors import UserError, nearest

# Usual names in lower case: what is translated, then its translation. The first pair that is there counts.
PAIR_NAMES = (
    ("source", "target"),
    ("src", "tgt"),
    ("source_text", "target_text"),
    ("src_text", "tgt_text"),
    ("source_sentence", "target_sentence"),
    ("source", "translation"),
    ("text", "translation"),
    ("sentence", "translation"),
    ("原文", "译文"),
    ("源语言", "目标语言"),
)
NESTED = "translation"  # the column of one object a row, as the Hub's data sets have it: {"en": ..., "zh": ...}


@dataclass
class TranslationColumns:
    """Column names, and their languages as the user or the names tell them; None where neither does."""

    source: str
    target: str
    source_lang: str | None
    target_lang: str | None


def find_translation_columns(
    column_names: Iterable[str],
    features: Mapping[str, Any],
    source_column: str | None = None,
    target_column: str | None = None,
    source_lang: str | None = None,
    target_lang: str | None = None,
) -> TranslationColumns:
    """The columns to read: those named, else those of the languages named, else those with usual names.

    Upper and lower case are one. Two columns that are named by languages say nothing about the direction, except
    that English and Chinese are read as from English to Chinese where no flag says otherwise.

    Args:
        source_lang, target_lang: as the user writes them (`zh`, `zh_CN`, `zho_Hans`), to be found in column names that
            mean the same language; where no name does, they only say what the columns hold.

    Raises:
        UserError: a named column is not there, is named twice or is of another language than said; no or several
            columns could be meant.
    """
    names = list(column_names)
    _check_named({"source_column": source_column, "target_column": target_column}, names)
    languages = _language_columns(names, features)
    source = source_column or _of_language(source_lang, "source", languages, {target_column})
    target = target_column or _of_language(target_lang, "target", languages, {source})
    if source is None and target is None:
        source, target = _usual_pair(names, languages)
    elif target is None:
        target = _partner(source, "target", names, languages)
    elif source is None:
        source = _partner(target, "source", names, languages)
    return TranslationColumns(
        source,
        target,
        _agreed_language("source", source, source_lang),
        _agreed_language("target", target, target_lang),
    )


def find_source_column(
    column_names: Iterable[str],
    features: Mapping[str, Any],
    known: TranslationColumns,
    source_column: str | None = None,
) -> str:
    """The column to translate in rows without translations: the one named, else the one that training read.

    Else the only one of the source's language, the first one with a usual name, or the only column of text.

    Raises:
        UserError: the named column is not there, or none can be told.
    """
    names = list(column_names)
    _check_named({"source_column": source_column}, names)
    if source_column or known.source in names:
        return source_column or known.source
    language = base_language(known.source_lang)
    texts = [
        name
        for name in names
        if is_string(features.get(name))
        and name.lower() not in NEVER_TEXT
        and name != known.target
        and (language is None or base_language(name) in (None, language))
    ]
    of_language = [name for name in texts if language and base_language(name) == language]
    lower = {name.strip().lower(): name for name in texts}
    usual = [lower[name] for name, _ in PAIR_NAMES if name in lower]
    for found in (of_language, usual[:1], texts):
        if len(found) == 1:
            return found[0]
    raise UserError(
        f"no column `{known.source}` as in training, and none that is known to be the source; name it with "
        f"--source_column. Columns: {listed(names)}"
    )


def _check_named(named: dict[str, str | None], names: list[str]) -> None:
    for flag, name in named.items():
        if name is not None and name not in names:
            raise UserError(f"--{flag} {name}: there is no such column among {listed(names)}{nearest(name, names)}")
    given = [name for name in named.values() if name is not None]
    if len(given) == 2 and given[0] == given[1]:
        raise UserError(
            f"{' and '.join(f'--{flag}' for flag in named)} both name column `{given[0]}`; columns: {listed(names)}"
        )


def _language_columns(names: list[str], features: Mapping[str, Any]) -> dict[str, str]:
    """Columns of text named by a language, to the shortest code of it."""
    found = {name: base_language(name) for name in names if is_string(features.get(name)) and base_language(name)}
    # `id` is Indonesian only where it must be.
    others = {name: code for name, code in found.items() if name.lower() not in NEVER_TEXT}
    return others if len(others) > 1 else found


def _of_language(lang: str | None, side: str, languages: dict[str, str], taken: set[str | None]) -> str | None:
    """The column of a language that the user names; of several (`zh_CN`, `zh_TW`) the one written just so."""
    if lang is None:
        return None
    free = {name: code for name, code in languages.items() if name not in taken}
    exact = [name for name in free if name.lower().replace("-", "_") == lang.strip().lower().replace("-", "_")]
    found = exact or [name for name, code in free.items() if code == base_language(lang)]
    if len(found) > 1:
        raise UserError(
            f"--{side}_lang {lang}: columns {listed(found)} are of that language; name one with --{side}_column"
        )
    return found[0] if found else None


def _usual_pair(names: list[str], languages: dict[str, str]) -> tuple[str, str]:
    lower = {name.strip().lower(): name for name in names}
    for first, second in PAIR_NAMES:
        if first in lower and second in lower:
            return lower[first], lower[second]
    codes = {code: name for name, code in languages.items()}
    if len(languages) == 2 and codes.keys() == {"en", "zh"}:
        return codes["en"], codes["zh"]
    if len(languages) > 1:
        raise UserError(
            f"columns {listed(list(languages))} are languages, and nothing says which one is translated into which; "
            f"give --source_lang and --target_lang (one of {', '.join(sorted(set(languages.values())))} each). "
            f"Columns: {listed(names)}"
        )
    raise UserError(
        "no two columns are known to be a text and its translation; name them with --source_column and "
        f"--target_column. Columns: {listed(names)}. If these are values, the file lacks its header: put a line such "
        "as `en,zh` on top."
    )


def _partner(known: str, side: str, names: list[str], languages: dict[str, str]) -> str:
    """The column on the other side of one that is known: of its usual pair, else the only other language."""
    lower = {name.strip().lower(): name for name in names}
    for pair in PAIR_NAMES:
        own, other = pair if side == "target" else pair[::-1]
        if known.strip().lower() == own and other in lower:
            return lower[other]
    others = [name for name in languages if name != known]
    if len(others) == 1:
        return others[0]
    problem = f"{listed(others)} could each be" if others else "no other column is known to be"
    raise UserError(
        f"column `{known}` is the {'source' if side == 'target' else 'target'}, and {problem} the {side}; name it with "
        f"--{side}_column or --{side}_lang. Columns: {listed(names)}"
    )


def _agreed_language(side: str, column: str, lang: str | None) -> str | None:
    said, of_name = base_language(lang), base_language(column)
    if said and of_name and said != of_name:
        raise UserError(
            f"--{side}_lang {lang}: the {side} is column `{column}`, which is named by another language; give "
            f"--{side}_lang {language_of(column)}, or another --{side}_column"
        )
    return lang or language_of(column)


def flatten_translation(dataset: Dataset, split_name: str) -> Dataset:
    """The column `translation` of `{"en": ..., "zh": ...}` as one column a language, behind the others.

    A data set without such a column, or with one of plain texts, is given back as it is.

    Raises:
        UserError: naming the split and the rows: one has no object, lacks a language, or has something else than a
            text; or a language has a column already.
    """
    feature = dataset.features.get(NESTED)
    if isinstance(feature, TranslationVariableLanguages):
        raise UserError(
            f"{split_name}: column `{NESTED}` holds several translations a row; write one row for each, with one "
            "column a language"
        )
    if isinstance(feature, Json):
        columns = _from_objects(dataset, split_name)
    elif isinstance(feature, (Translation, dict)):
        columns = _from_structs(column_array(dataset, NESTED), split_name)
    else:
        return dataset
    for language, values in columns.items():
        if language in dataset.column_names:
            raise UserError(
                f"{split_name}: there is a column `{language}`, and column `{NESTED}` has a `{language}` too; "
                "leave one out"
            )
        missing = values.is_null().to_numpy(zero_copy_only=False)
        if missing.any():
            raise UserError(
                f"{split_name}: no `{language}` in column `{NESTED}` in {name_rows(missing)}; every row needs the same "
                f"languages ({listed(list(columns))}): fill them in or delete the rows"
            )
        dataset = dataset.add_column(language, values, feature=Value("string"))
    return dataset.remove_columns(NESTED)


def _from_structs(values: pa.StructArray, split_name: str) -> dict[str, pa.Array]:
    """Language to its texts, missing where the whole object is."""
    columns = {field.name: pc.struct_field(values, field.name) for field in values.type}
    for language, texts in columns.items():
        if not any(is_kind(texts.type) for is_kind in (pa.types.is_string, pa.types.is_large_string, pa.types.is_null)):
            raise UserError(
                f"{split_name}: `{language}` in column `{NESTED}` holds values of type {texts.type}; they must be texts"
            )
    return {language: pc.cast(texts, pa.string()) for language, texts in columns.items()}


def _from_objects(dataset: Dataset, split_name: str) -> dict[str, pa.Array]:
    rows = dataset[NESTED][:]
    wrong = np.array([row is not None and not isinstance(row, dict) for row in rows])
    if wrong.any():
        raise UserError(
            f"{split_name}: column `{NESTED}` holds something else than an object such as "
            f'{{"en": "...", "zh": "..."}} in {name_rows(wrong)}'
        )
    columns = {}
    for language in dict.fromkeys(key for row in rows if row for key in row):
        texts = [row.get(language) if row else None for row in rows]
        wrong = np.array([text is not None and not isinstance(text, str) for text in texts])
        if wrong.any():
            raise UserError(
                f"{split_name}: `{language}` in column `{NESTED}` is no text in {name_rows(wrong)}; it must be one"
            )
        columns[language] = pa.array(texts, pa.string())
    return columns
