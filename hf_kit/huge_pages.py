"""Large blocks of memory in pages of 2 MB, where Linux has them, for the LSTM on a CPU.

The workspaces of its kernel are hundreds of megabytes, mapped anew at every step; in pages of 4 KB the system spends a
fifth of the step on them. Models with smaller blocks are better off without.
"""

import json
import os
from collections.abc import Sequence
from pathlib import Path

from hf_kit.errors import UserError
from hf_kit.recipe import QUICKSTART, find_recipe, read_recipe

LSTM = "hf_kit_lstm"


def ask_for_huge_pages(argv: Sequence[str]) -> None:
    """Set torch's own switch, unless the user has, if these words of `hf-kit train` train an LSTM.

    To be called before torch loads, which reads it once, when it first allocates memory.
    """
    if _model_type(argv) == LSTM:
        os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")


def _model_type(argv: Sequence[str]) -> str | None:
    """What will be trained, as far as that is known without loading anything. Mistakes are said later."""
    named = argv[0] if argv and not argv[0].startswith("-") else None
    flags = dict(_flag(argv, place) for place, word in enumerate(argv) if word.startswith("--"))
    model = {"model_type", "model_name_or_path"}
    if not model & set(flags):
        try:
            flags = read_recipe(find_recipe(named or QUICKSTART))
        except UserError:
            return None
    if flags.get("model_type"):
        return flags["model_type"]
    try:
        return json.loads(Path(str(flags.get("model_name_or_path")), "config.json").read_text()).get("model_type")
    except (OSError, ValueError, AttributeError, RecursionError):
        return None


def _flag(argv: Sequence[str], place: int) -> tuple[str, str]:
    name, equals, value = argv[place].removeprefix("--").partition("=")
    if not equals and place + 1 < len(argv):
        value = argv[place + 1]
    return name.replace("-", "_"), value
