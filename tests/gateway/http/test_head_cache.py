"""The head cache: parsed heads by their bytes, within bounds."""

import pytest

from gateway.http.head_cache import _GENERATION, _LONGEST, HeadCache, classify_head
from gateway.http.request_head import ProtocolError
from tests.support.http_stage import request

LIMIT = 100


def meaning(method: str, path: str, *lines: str) -> tuple[bool, bool, str, bool]:
    """Whether it is a call, has its response, the code of its refusal, and whether it is for the
    other server."""
    read = classify_head(request(method, path, *lines), LIMIT)
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
def test_post_to_a_call_path_is_a_call(path: str) -> None:
    """Other methods have their response already."""
    assert meaning("POST", path) == (True, False, "", False)
    assert meaning("OPTIONS", path) == (False, True, "", False)
    for method in ("PUT", "PATCH", "DELETE"):
        assert meaning(method, path) == (False, False, "route.method", False)
    for method in ("GET", "HEAD"):
        page = path.startswith("/models/")
        assert meaning(method, path) == (False, False, "" if page else "route.method", page)


@pytest.mark.parametrize("path", ["/", "/models", "/model/", "/Model", "/livez", "/api/v2/models"])
def test_other_paths_are_for_the_other_server(path: str) -> None:
    """With any method and headers."""
    for method in ("GET", "POST", "OPTIONS"):
        assert meaning(method, path, "Content-Encoding: gzip") == (False, False, "", True)


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
def test_head_is_refused_before_its_body(line: str, code: str) -> None:
    """A fault that the head shows is refused before the body is read."""
    assert meaning("POST", "/model", line)[2] == code


def test_equal_heads_are_parsed_once() -> None:
    """The same bytes give the same object."""
    cache = HeadCache(LIMIT)
    first = cache.read(request("POST", "/model"))
    assert cache.read(bytes(bytearray(request("POST", "/model")))) is first


def test_cache_is_bounded() -> None:
    """Neither many heads nor large nor malformed ones stay; heads in use do."""
    cache = HeadCache(LIMIT)
    often = cache.read(request("POST", "/model"))
    for number in range(5 * _GENERATION):
        cache.read(request("POST", f"/models/{number}"))
        assert cache.read(request("POST", "/model")) is often
        assert len(cache._young) + len(cache._old) <= 2 * _GENERATION
    large = request("POST", "/model", f"A: {'a' * _LONGEST}")
    assert cache.read(large) is not cache.read(large)
    before = len(cache._young)
    with pytest.raises(ProtocolError):
        cache.read(b"POST /model HTTP/1.1\r\n\r\n")
    assert len(cache._young) == before


def test_cached_refusal_keeps_no_frames() -> None:
    """It keeps no frames, and so no bytes, of the parse alive."""
    refused = classify_head(request("PUT", "/model"), LIMIT).refusal
    assert refused is not None
    assert refused.__traceback__ is None
