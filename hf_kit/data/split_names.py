"""Which split is which: train, validation and test, from the names that people give to splits and files."""

import re
from collections.abc import Iterable

from hf_kit.errors import UserError, nearest

ROLES = ("train", "validation", "test")
WORDS = {"train": "train", "test": "test"} | dict.fromkeys(("validation", "valid", "val", "dev", "eval"), "validation")


def role_of(name: str) -> tuple[str | None, int]:
    """The role of a split named so, and how sure that is: 0 the very word, 1 its first word, 2 its last word.

    `train_phrases` is a train split and `dev_not_in_train` a validation split; `all` is neither (None).
    """
    words = [w for w in re.split(r"[\W_]+", name.lower()) if w]
    if len(words) == 1 and words[0] in WORDS:
        return WORDS[words[0]], 0
    for sureness, word in ((1, words[:1]), (2, words[-1:])):
        if word and word[0] in WORDS:
            return WORDS[word[0]], sureness
    return None, 3


def choose_splits(
    source: str, names: Iterable[str], asked: dict[str, str | None], wanted: Iterable[str] = ROLES
) -> dict[str, str | None]:
    """Give each wanted role one of `names`, or None.

    Args:
        source: what holds the splits, for messages.
        asked: role to the name that the user gave it, if any; such a name is given to no other role.

    Raises:
        UserError: a name that does not exist or is asked for twice; several names for one role; no split to train on.
    """
    names = list(names)
    there = f"its splits are: {', '.join(names)}"
    for role, name in asked.items():
        if name is not None and name not in names:
            raise UserError(f"--{role}_split_name {name}: {source} has no such split; {there}{nearest(name, names)}")
    taken = [name for name in asked.values() if name is not None]
    for name in taken:
        if taken.count(name) > 1:
            flags = " and ".join(f"--{role}_split_name" for role in ROLES if asked.get(role) == name)
            raise UserError(f"{flags} both name `{name}`; rows that train must not score")
    free = [name for name in names if name not in taken]
    chosen = {}
    for role in wanted:
        if asked.get(role):
            chosen[role] = asked[role]
            continue
        found = [(role_of(name)[1], name) for name in free if role_of(name)[0] == role]
        best = [name for sureness, name in found if sureness == min(found)[0]]
        if len(best) > 1:
            raise UserError(
                f"{source} has several splits for {role}: {', '.join(best)}; name one with --{role}_split_name"
            )
        chosen[role] = best[0] if best else None
    if "train" in wanted and len(names) == 1 and free and role_of(names[0])[0] is None:
        chosen["train"] = names[0]
    if not any(chosen.values()):
        role = "train" if "train" in wanted else next(iter(wanted))
        raise UserError(f"{source} has no split to {_use(role)}; {there}. Name one with --{role}_split_name")
    return chosen


def _use(role: str) -> str:
    return {"train": "train on", "validation": "validate on", "test": "score"}[role]
