"""Text of any kind is shown as it is and means nothing to Markdown."""

import html
import re

import pytest
from markdown_it import MarkdownIt

from hf_kit.card.escaping import cleaned, shortened, shown

RENDER = MarkdownIt("commonmark").enable(["table", "strikethrough"]).render


@pytest.mark.parametrize(
    "text",
    [
        "a | b",
        "`code` and ``more``",
        "**bold** __it__ ~~gone~~ _a_",
        "<b>x</b> <script>",
        "[x](http://y.example) ![z](w)",
        "# heading",
        "1. one",
        "- item",
        "---",
        "=== ",
        "> quote",
        "back\\slash \\* ",
        "&amp; &#42;",
        "<!-- c -->",
        "tab\tand\nline",
        "snake_case_label",
        "1e5",
        "3.14",
        "👩‍🚀 差评 שלום",
    ],
)
@pytest.mark.parametrize("around", ["{}", "- {}", "*{}*", "| a |\n| --- |\n| {} |"])
def test_it_renders_to_itself_wherever_it_stands(text, around):
    """Alone, in a list, in emphasis and in a cell: the same letters, and no element but those around it."""
    plain = RENDER(around.format("word"))
    rendered = RENDER(around.format(shown(text)))
    assert re.findall(r"<[^>]*>", rendered) == re.findall(r"<[^>]*>", plain)
    assert html.unescape(re.sub(r"<[^>]*>", "", rendered)).strip().endswith(cleaned(text))


def test_formulas_addresses_and_names_are_broken_up():
    assert "$" not in shown("$$x$$") and "@" not in shown("a@b.example")
    assert "//" not in shown("https://x.example") and "www." not in shown("www.x.example")


def test_plain_words_stay_as_they_are():
    for text in ("card_arrival", "2.13.0+cpu", "good - bad", "C++", "ham"):
        assert shown(text) == text


def test_what_cannot_be_seen_goes_and_what_joins_stays():
    assert cleaned("a\u202eb\u0000c\ufeffd\ud800") == "abcd?"
    assert cleaned("👩\u200d🚀") == "👩\u200d🚀"
    assert cleaned(" two\n\nlines\u2028more ") == "two lines more"
    assert shown("\u200e") == "(empty)"


def test_long_text_is_cut_with_an_ellipsis_before_it_is_escaped():
    assert shortened("x" * 300, 80) == "x" * 79 + "…"
    assert shown("&" * 300, 3) == "&#38;&#38;…"
