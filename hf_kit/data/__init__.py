"""Data for a run: loading, finding the columns, deciding the labels, making the splits.

The names load with their first use, so that `check_files_exist` can be called before anything heavy is imported.
"""

import importlib

_PUBLIC = {
    "check_files_exist": "hf_kit.data.files",
    "check_sources": "hf_kit.data.loading",
    "load_splits": "hf_kit.data.loading",
    "naming_files": "hf_kit.data.loading",
    "RawSplits": "hf_kit.data.loading",
    "find_columns": "hf_kit.data.columns",
    "TextColumns": "hf_kit.data.columns",
    "check_texts": "hf_kit.data.columns",
    "empty_texts": "hf_kit.data.columns",
    "decide_labels": "hf_kit.data.labels",
    "encode_labels": "hf_kit.data.labels",
    "has_labels": "hf_kit.data.labels",
    "LabelMapping": "hf_kit.data.labels",
    "check_input_file": "hf_kit.data.inputs",
    "column_if_there": "hf_kit.data.inputs",
    "read_texts": "hf_kit.data.inputs",
    "read_sources": "hf_kit.data.inputs",
    "make_splits": "hf_kit.data.splits",
    "Splits": "hf_kit.data.splits",
    "clean_rows": "hf_kit.data.leaks",
    "DataChecks": "hf_kit.data.checks",
    "check_split": "hf_kit.data.checks",
    "count_tokens": "hf_kit.data.checks",
    "similar_labels": "hf_kit.data.checks",
    "two_rows_that_disagree": "hf_kit.data.checks",
    "show_checks": "hf_kit.data.check_table",
}
__all__ = [*_PUBLIC]  # noqa: PLE0604 (the table above holds strings)


def __getattr__(name: str):
    if name in _PUBLIC:
        return getattr(importlib.import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module 'hf_kit.data' has no attribute {name!r}")


def __dir__():
    return sorted(__all__)
