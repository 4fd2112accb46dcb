"""Processes that would not train the same thing are told apart before the first step."""

import pytest

from hf_kit import agreement
from hf_kit.errors import UserError


def refuse(monkeypatch, *others: dict, parts: dict | None = None):
    """As process 0, with `others` beside it."""
    own = agreement.program_facts()

    def gather(mine):
        return mine + [(f"host{rank}", own | (parts or {}) | other) for rank, other in enumerate(others, start=1)]

    monkeypatch.setattr(agreement, "gather_object", gather)
    agreement.refuse_differing(parts or {}, 1 + len(others))


def test_the_same_program_on_the_same_data_goes_on(monkeypatch):
    refuse(monkeypatch, {}, {}, parts={"train rows": "a" * 64, "seed": 42})


@pytest.mark.parametrize(
    ("other", "says"),
    [
        ({"torch": "2.0.0"}, "torch: "),
        ({"python": "3.9.1"}, "-> 3.9.1"),
        ({"hf_kit's code": "f" * 64}, "hf_kit's code: "),
        ({"train rows": "b" * 64}, "train rows: aaaaaaaa... -> bbbbbbbb..."),
        ({"learning_rate": 0.1}, "learning_rate: 0.01 -> 0.1"),
    ],
)
def test_which_process_differs_in_what_is_said(monkeypatch, other, says):
    with pytest.raises(UserError) as error:
        refuse(monkeypatch, {}, other, parts={"train rows": "a" * 64, "learning_rate": 0.01})
    assert "process 2 (host2) has" in str(error.value) and says in str(error.value)
    assert "process 1" not in str(error.value)


def test_one_process_asks_nobody(monkeypatch):
    monkeypatch.setattr(agreement, "gather_object", None)
    agreement.refuse_differing({}, 1)


def test_the_code_digest_follows_the_code(monkeypatch, tmp_path):
    (tmp_path / "one.py").write_text("a = 1\n")
    monkeypatch.setattr(agreement, "__file__", str(tmp_path / "agreement.py"))
    digest = agreement.code_digest.__wrapped__
    before = digest()
    assert digest() == before
    (tmp_path / "one.py").write_text("a = 2\n")
    assert digest() != before
