"""Large blocks of memory in pages of 2 MB, where Linux has them, for two kinds of training on a CPU.

- An LSTM: the workspaces of its kernel are hundreds of megabytes, mapped anew at every step; in pages of 4 KB the
  system spends a fifth of the step on them.
- Gradient checkpointing, which is there to save memory: in the heap of glibc before 2.38 a freed block that was aligned
  does not fit the next one of its size (sourceware bug 14581), and the holes come to more than it saves. With pages of
  2 MB it is cheap enough to map every block for itself, so that a freed one goes back at once.

Other models with smaller blocks are faster without.
"""

import ctypes
import json
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from hf_kit.errors import UserError
from hf_kit.recipe import QUICKSTART, find_recipe, read_recipe

LSTM = "hf_kit_lstm"
SWITCH = "THP_MEM_ALLOC_ENABLE"  # torch's own
M_MMAP_THRESHOLD = -3  # of mallopt(3)
HEAP_AT_MOST = 32 * 2**20  # glibc's DEFAULT_MMAP_THRESHOLD_MAX: larger blocks are mapped for themselves in any case
MAPPED_FROM = 2**20


def ask_for_huge_pages(argv: Sequence[str]) -> None:
    """Set torch's own switch, unless the user has, if these words of `hf-kit train` ask for a training as above.

    To be called before torch loads, which reads it once, when it first allocates memory.
    """
    flags = _flags(argv)
    if _model_type(flags) == LSTM or _is_true(flags.get("gradient_checkpointing")):
        os.environ.setdefault(SWITCH, "1")


def map_blocks_for_themselves() -> int:
    """From now on give freed blocks of `MAPPED_FROM` bytes and more back to the system, if pages are large.

    Returns:
        The bytes of the largest block that the heap may hold.
    """
    if os.environ.get(SWITCH) == "1":
        with suppress(OSError, AttributeError):  # not glibc
            if ctypes.CDLL(None).mallopt(M_MMAP_THRESHOLD, MAPPED_FROM):
                return MAPPED_FROM
    return HEAP_AT_MOST


def _flags(argv: Sequence[str]) -> dict:
    """What these words and their recipe say, without loading anything. Mistakes are said later."""
    named = argv[0] if argv and not argv[0].startswith("-") else None
    given = dict(_flag(argv, place) for place, word in enumerate(argv) if word.startswith("--"))
    try:
        recipe = read_recipe(find_recipe(named or QUICKSTART))
    except UserError:
        recipe = {}
    if {"model_type", "model_name_or_path"} & set(given):
        recipe = {name: value for name, value in recipe.items() if name not in ("model_type", "model_name_or_path")}
    return recipe | given


def _flag(argv: Sequence[str], place: int) -> tuple[str, str | bool]:
    name, equals, value = argv[place].removeprefix("--").partition("=")
    if not equals:
        following = argv[place + 1 : place + 2]
        value = following[0] if following and not following[0].startswith("--") else True
    return name.replace("-", "_"), value


def _is_true(value: object) -> bool:
    return str(value).lower() in ("true", "yes", "1", "y", "t")


def _model_type(flags: dict) -> str | None:
    """What will be trained."""
    if flags.get("model_type"):
        return flags["model_type"]
    try:
        return json.loads(Path(str(flags.get("model_name_or_path")), "config.json").read_text()).get("model_type")
    except (OSError, ValueError, AttributeError, RecursionError):
        return None
