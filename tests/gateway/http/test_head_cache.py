"""Openings: what a head asks for, remembered by its bytes within bounds."""

import pytest

from gateway.http.head_cache import _GENERATION, _LONGEST, HeadCache, parse_head
from gateway.http.request_head import ProtocolError
from tests.support.http_stage import request

LIMIT = 100


def opening(method: str, path: str, *lines: str) -> tuple[bool, bool, str, bool]:
    """Whether it is a call, has its reply, the code of its refusal, and whether it is elsewhere."""
    read = parse_head(request(method, path, *lines), LIMIT)
    code = read.refusal.code if read.refusal is not None else ""
    return read.call is not None, read.response is not None, code, read.is_fallback


@pytest.mark.parametrize(
    "path",
    [
        "/model",
        "/mod%65l",
        "/model?a=b",
        "/models/x",
        "/models/",
        "/api/altus-ds-1/models/call-model",
    ],
)
def test_what_is_a_call(path: str) -> None:
    """A POST to a path of calls is one; other methods have their answer already."""
    assert opening("POST", path) == (True, False, "", False)
    assert opening("OPTIONS", path) == (False, True, "", False)
    for method in ("GET", "HEAD", "PUT", "PATCH", "DELETE"):
        assert opening(method, path) == (False, False, "route.method", False)


@pytest.mark.parametrize("path", ["/", "/models", "/model/", "/Model", "/livez", "/api/v2/models"])
def test_what_is_elsewhere(path: str) -> None:
    """Any other path is the other server's, whatever the method and the headers."""
    for method in ("GET", "POST", "OPTIONS"):
        assert opening(method, path, "Content-Encoding: gzip") == (False, False, "", True)


@pytest.mark.parametrize(
    ("line", "code"),
    [
        (f"Content-Length: {LIMIT}", ""),
        (f"Content-Length: {LIMIT + 1}", "request.toolarge"),
        ("Content-Type: text/html", "request.media"),
        ("Content-Encoding: br", "request.media"),
        ("X-Request-Timeout: x", "request.invalid"),
    ],
)
def test_what_a_head_is_refused_for(line: str, code: str) -> None:
    """What can be seen from the head is refused before the body is read."""
    assert opening("POST", "/model", line)[2] == code


def test_equal_heads_are_read_once() -> None:
    """The same bytes give the very same opening."""
    openings = HeadCache(LIMIT)
    first = openings.read(request("POST", "/model"))
    assert openings.read(bytes(bytearray(request("POST", "/model")))) is first


def test_what_is_remembered_is_bounded() -> None:
    """Neither great numbers nor great heads nor malformed ones are kept; those in use are."""
    openings = HeadCache(LIMIT)
    often = openings.read(request("POST", "/model"))
    for number in range(5 * _GENERATION):
        openings.read(request("POST", f"/models/{number}"))
        assert openings.read(request("POST", "/model")) is often
        assert len(openings._young) + len(openings._old) <= 2 * _GENERATION
    large = request("POST", "/model", f"A: {'a' * _LONGEST}")
    assert openings.read(large) is not openings.read(large)
    before = len(openings._young)
    with pytest.raises(ProtocolError):
        openings.read(b"POST /model HTTP/1.1\r\n\r\n")
    assert len(openings._young) == before


def test_a_refusal_holds_on_to_nothing() -> None:
    """One that is remembered keeps no frames, and so no bytes, of the reading alive."""
    refused = parse_head(request("PUT", "/model"), LIMIT).refusal
    assert refused is not None
    assert refused.__traceback__ is None
