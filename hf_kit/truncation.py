"""What is kept of a text that is longer than the model takes, and how the user is told.

`right` and `left` are the words of transformers' `tokenizer.truncation_side`: the end that is cut. `middle`, ours,
keeps a quarter of the room for the head and the rest for the tail, as Sun et al. 2019 (arXiv:1905.05583) did with
128 + 382 of BERT's 510 tokens. The tokenizers library cannot do that, and neither can a `pipeline`.
"""

SIDES = ("right", "left", "middle")
KEPT = {"right": "their beginning is kept", "left": "their end is kept", "middle": "beginning and end are kept"}
# The share of all tokens lost from which reading in windows is worth a word.
NOTABLE = 0.05


def saved_side(side: str) -> str:
    """What a saved tokenizer says for `side`: it knows right and left only, so for `middle` its usual right."""
    return "left" if side == "left" else "right"


def text_places(sequence_ids: list[int | None]) -> tuple[list[int], list[int], list[int]]:
    """Where in an encoding its special tokens (None), the first (0) and the second text (1) stand."""
    special, first, second = ([i for i, s in enumerate(sequence_ids) if s == n] for n in (None, 0, 1))
    return special, first, second


def cut(places: list[int], room: int, side: str) -> list[int]:
    """The `room` of a text's tokens that stay when it is cut on `side`; all where they fit."""
    over = len(places) - room
    if over <= 0:
        return places
    head = {"right": room, "left": 0, "middle": (room + 2) // 4}[side]  # a quarter, rounded: 128 of 510
    return places[:head] + places[head + over :]


def kept_tokens(sequence_ids: list[int | None], max_length: int, side: str) -> list[int]:
    """Which tokens stay: all special ones, and of the texts what a "longest first" cut leaves, each cut on `side`."""
    special, first, second = text_places(sequence_ids)
    room = max_length - len(special)
    # The text that is shorter keeps up to half of the room, and the other one the rest.
    shorter = min(len(first), len(second), room // 2)
    rooms = (room - shorter, shorter) if len(first) > len(second) else (shorter, room - shorter)
    return sorted([*special, *cut(first, rooms[0], side), *cut(second, rooms[1], side)])


def cut_note(name: str, rows: int, truncated: int, lost_share: float, max_length: int, side: str) -> str:
    """One line on the texts of a scored split that are cut, with a hint where much of them goes unread."""
    note = (
        f"{name}: {truncated:,} of {rows:,} texts ({truncated / rows:.1%}) are longer than {max_length} tokens and are "
        f"cut (--max_length): {KEPT[side]} (--truncation_side {side}), {lost_share:.1%} of all tokens are lost"
    )
    if lost_share >= NOTABLE:
        note += "; `hf-kit evaluate` and `predict` read all of them with --windows"
    return note
