"""Large blocks of memory in pages of 2 MB, where Linux has them.

The workspaces of an LSTM's kernel on a CPU are hundreds of megabytes, mapped anew at every step; in pages of 4 KB the
system spends a fifth of the step on them.
"""

import os


def ask_for_huge_pages() -> None:
    """Set torch's own switch for it, unless the user has; it is read once, when torch first allocates memory."""
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
