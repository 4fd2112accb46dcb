"""What looks personal is kept out of the examples, and ordinary sentences are not."""

import pytest

from hf_kit.card.personal import looks_personal


@pytest.mark.parametrize(
    "text",
    [
        "write to jane.doe@mail.example",
        "ask ＠jane",
        "see https://x.example/a?b=c",
        "www.shop.example",
        "go to shop.co.uk now",
        "call 07712 345 678",
        "call +44 (0)20 7946-0958",
        "电话 138-0013-8000",
        "电话１３８００１３８０００",
        "txt WIN to 87121",
        "my token is hf_abcdefghijklmnopqrst",
        "key AKIAIOSFODNN7EXAMPLE",
        "sk-proj-abcdefghij0123456789",
        "the word is QWERTYUIOPASDFGHJKLZXCVBNMQWERTYUIOP",
        "in /home/jane/data",
        "in C:\\Users\\jane",
        "on \\\\server\\share",
    ],
)
def test_what_looks_personal(text):
    assert looks_personal(text)


@pytest.mark.parametrize(
    "text",
    [
        "The room was spotless and the staff were kind.",
        "Paid 1000 for 3 nights, 24/7 service, 10.50 each.",
        "state-of-the-art and/or well-thought-out...",
        "End.Next sentence without a space",
        "房间很干净，服务也好，才300元。",
        "U dun say so early hor... U c already then say...",
        "It was opened in 2019 and 2020",
    ],
)
def test_what_does_not(text):
    assert not looks_personal(text)
