"""What may pass is tried again, with growing waits; what will not pass is not."""

import pytest
from huggingface_hub.errors import HfHubHTTPError

from hf_kit.hub import retries
from hf_kit.hub.retries import retrying

httpx2 = pytest.importorskip("httpx2", reason="huggingface_hub 1.x has httpx")


@pytest.fixture
def waits(monkeypatch):
    slept: list[float] = []
    monkeypatch.setattr(retries.time, "sleep", slept.append)
    return slept


def answer(status: int, headers: dict | None = None) -> HfHubHTTPError:
    response = httpx2.Response(status, headers=headers, request=httpx2.Request("POST", "http://127.0.0.1/x"))
    return HfHubHTTPError("as made", response=response)


def failing(*reasons: Exception):
    left = list(reasons)

    def ask() -> str:
        if left:
            raise left.pop(0)
        return "done"

    return ask


def wrapped(reason: Exception) -> Exception:
    outer = RuntimeError("Error while uploading")
    outer.__cause__ = reason
    return outer


@pytest.mark.parametrize(
    "reason",
    [answer(503), answer(429), answer(409), httpx2.ConnectError("no"), wrapped(answer(502)), TimeoutError()],
    ids=str,
)
def test_what_may_pass_is_tried_again(reason, waits, capsys):
    assert retrying(failing(reason, reason)) == "done"
    assert waits == [1, 2]
    assert capsys.readouterr().out.count("again in") == 2


@pytest.mark.parametrize(
    "reason", [answer(401), answer(403), answer(404), wrapped(answer(403)), ValueError("x")], ids=str
)
def test_what_will_not_pass_is_not(reason, waits):
    with pytest.raises(type(reason)):
        retrying(failing(reason))
    assert not waits


def test_the_last_error_is_raised_and_a_server_may_ask_for_time(waits):
    with pytest.raises(HfHubHTTPError):
        retrying(failing(*[answer(500)] * 9))
    assert waits == [1, 2, 4, 8]
    waits.clear()
    assert retrying(failing(answer(429, {"Retry-After": "30"}), answer(429, {"Retry-After": "9999"}))) == "done"
    assert waits == [30, 60]
