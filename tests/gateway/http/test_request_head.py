"""Parsing heads: good requests are read as other parsers read them, and the rest is refused."""

import re
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.http.request_head import (
    FIELDS_LIMIT,
    HEAD_LIMIT,
    METHODS,
    ProtocolError,
    RequestHead,
    end_of_head,
    parse_head,
)
from tests.gateway.http.raw_requests import BAD, GOOD, mistaken, read, status_of

GET = b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"


def head(*lines: str) -> RequestHead:
    return parse_head("\r\n".join([*lines, "", ""]).encode("latin-1"))


def get(*lines: str) -> RequestHead:
    return head("GET / HTTP/1.1", "Host: x", *lines)


@pytest.mark.parametrize("path", BAD, ids=lambda path: path.stem)
def test_bad_request_is_refused(path: Path) -> None:
    """With the status in its name."""
    assert read(path.read_bytes()).refused == status_of(path)


@pytest.mark.parametrize("path", GOOD, ids=lambda path: path.stem)
def test_good_request_is_read_as_h11_reads_it(path: Path) -> None:
    """Each request of the corpus means the same to h11."""
    assert assert_same(path.read_bytes())
    assert not read(path.read_bytes()).refused


def test_message_says_what_is_wrong() -> None:
    """The sender can see from it what to change."""
    with pytest.raises(ProtocolError, match="a header continues in the next line"):
        get("A: b", " c")
    with pytest.raises(ProtocolError, match="'A : b' is not a header"):
        get("A : b")
    with pytest.raises(ProtocolError, match="not METHOD /path"):
        head("hello")
    with pytest.raises(ProtocolError, match="does not end with CR LF"):
        parse_head(GET.replace(b"\r", b""))
    with pytest.raises(ProtocolError, match="several host headers"):
        get("host: y")


def test_fields_of_a_head() -> None:
    """Method, path, query, headers by lower-case name, and the framing of the body."""
    read = head(
        "POST /models/a%20b%2Fc?accessKey=m%31 HTTP/1.1",
        "HOST: x:80",
        "Content-Length: \t 12 ",
        "X-Odd:  two  words\t",
    )
    assert read == RequestHead(
        method="POST",
        target="/models/a%20b%2Fc?accessKey=m%31",
        path="/models/a b/c",
        query="accessKey=m%31",
        minor=1,
        headers={"host": "x:80", "content-length": "12", "x-odd": "two  words"},
        length=12,
        chunked=False,
        keep_alive=True,
        expects_continue=False,
    )


def test_target_is_reduced_to_its_path() -> None:
    """A target with scheme and host counts as its path, and its host as the Host."""
    read = head("GET http://y:80?a=b HTTP/1.1", "Host: x")
    assert (read.target, read.path, read.headers["host"]) == ("/?a=b", "/", "y:80")
    assert head("OPTIONS http://y HTTP/1.1", "Host: x").target == "*"


def test_repeated_headers_are_joined() -> None:
    """A header that may be repeated becomes one list."""
    headers = get("Accept: a", "Cookie: b=c", "accept: d, e", "Cookie: f=g").headers
    assert (headers["accept"], headers["cookie"]) == ("a, d, e", "b=c; f=g")


@pytest.mark.parametrize(
    ("version", "connection", "kept"),
    [
        ("1.1", "", True),
        ("1.1", "x, Close", False),
        ("1.1", "closed", True),
        ("1.0", "", False),
        ("1.0", "x,Keep-Alive", True),
        ("1.0", "keep-alive, close", False),
    ],
)
def test_keep_alive(version: str, connection: str, kept: bool) -> None:
    """1.1 keeps a connection unless told to close it, 1.0 only when asked to; close wins."""
    assert head(f"GET / HTTP/{version}", "Host: x", f"Connection: {connection}").keep_alive == kept


def test_expects_continue() -> None:
    """Only a client of 1.1 with a body to send waits for `100 Continue`."""
    expect = ("Host: x", "Expect: 100-Continue")
    assert head("POST / HTTP/1.1", *expect, "Content-Length: 1").expects_continue
    assert head("POST / HTTP/1.1", *expect, "Transfer-Encoding: chunked").expects_continue
    assert not head("POST / HTTP/1.1", *expect, "Content-Length: 0").expects_continue
    assert not head("POST / HTTP/1.0", *expect, "Content-Length: 1").expects_continue
    assert not get("Expect: 100-continue, x", "Content-Length: 1").expects_continue


def test_limits_are_exact() -> None:
    """The largest head and the greatest number of headers are accepted; one more is not."""
    size = HEAD_LIMIT - len(GET)
    filled = GET[:-2] + b"A: " + b"b" * (size - 5) + b"\r\n\r\n"
    assert len(filled) == HEAD_LIMIT == end_of_head(filled)
    assert parse_head(filled).headers["a"]
    assert read(filled.replace(b"A: ", b"AA: ")).refused == 431
    many = [f"A{number}: b" for number in range(FIELDS_LIMIT - 1)]
    assert len(get(*many).headers) == FIELDS_LIMIT
    with pytest.raises(ProtocolError):
        get(*many, "B: c")


def test_junk_is_refused_at_once() -> None:
    """Not only when the time for a head is over."""
    assert end_of_head(b"") == end_of_head(b"GET / HTTP/1.1\r") == end_of_head(GET[:-1]) == 0
    for junk in (b"\x16\x03\x01", b"GET / HTTP/1.0\n", b"GET /\rX", b"G" * HEAD_LIMIT):
        with pytest.raises(ProtocolError):
            end_of_head(junk)


@given(st.sampled_from([path.read_bytes() for path in GOOD + BAD]), st.data())
def test_end_of_head_in_any_pieces(sent: bytes, data: st.DataObject) -> None:
    """Checking a growing head piece by piece finds or refuses the same as checking it at once."""
    whole = read_end(sent, 0)
    first = data.draw(st.integers(0, min(len(sent), HEAD_LIMIT)))
    early = read_end(sent[:first], 0)
    if early == 0:
        assert read_end(sent, first) == whole
    elif early is None:
        assert read(sent).refused
    else:
        assert early == whole


def read_end(sent: bytes, seen: int) -> int | None:
    try:
        return end_of_head(sent, seen)
    except ProtocolError:
        return None


@given(st.binary(max_size=300) | st.builds(lambda a, b: a + GET[4:] + b, st.binary(), st.binary()))
def test_any_bytes_are_a_head_or_a_protocol_error(block: bytes) -> None:
    """No bytes of a client raise anything but ProtocolError."""
    for whole in (block, block + b"\r\n\r\n"):
        assert read(whole).refused in (0, 400, 431, 501, 505)
        with suppress(ProtocolError):
            parse_head(whole)


@given(mistaken())
def test_mistaken_request_is_read_as_h11_reads_it(sent: bytes) -> None:
    """A request with a mistake is refused, or read as h11 reads it."""
    assert_same(sent)


tokens = st.text("!#$%&'*+-.^_`|~09azAZ", min_size=1, max_size=12)
values = st.text(st.characters(min_codepoint=32, max_codepoint=255, exclude_characters="\x7f"))


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    """A well-formed request."""
    method = draw(st.sampled_from(sorted(METHODS)))
    target = draw(st.text('abc/%20?&=.~-_{}"|', max_size=30))
    minor = draw(st.sampled_from("01"))
    fields = [(n, v) for n, v in draw(st.lists(st.tuples(tokens, values), max_size=6))]
    body = draw(st.binary(max_size=50))
    if minor == "1" and draw(st.booleans()):
        framing = ("Transfer-Encoding", draw(st.sampled_from(["chunked", "Chunked"])))
        body = b"".join(b"%X\r\n%b\r\n" % (len(p), p) for p in cut(draw, body)) + b"0\r\n\r\n"
    else:
        framing = ("Content-Length", str(len(body)))
    lines = [("hOst", "a.b:80"), *fields, framing]
    blank, end = draw(st.sampled_from(["", " ", "\t "])), draw(st.sampled_from(["", "  "]))
    # Not a tab after it: llhttp does not take that after `chunked`.
    head = "".join(f"{name}:{blank}{value}{end}\r\n" for name, value in lines)
    return f"{method} /{target} HTTP/1.{minor}\r\n{head}\r\n".encode("latin-1") + body


def cut(draw: st.DrawFn, body: bytes) -> list[bytes]:
    at = sorted(draw(st.sets(st.integers(0, len(body)))) | {0, len(body)})
    return [body[a:b] for a, b in pairwise(at)]


@given(requests())
def test_well_formed_request_is_read_as_h11_reads_it(sent: bytes) -> None:
    """Method, target, headers, body and the start of the next request are the same."""
    assert assert_same(sent + GET) == 2


def assert_same(sent: bytes) -> int:
    """Compares our requests with those of h11; returns their number."""
    requests = read(sent).requests
    for ours in requests:
        # h11 knows nothing of the empty line that may come before.
        theirs, body, sent = read_by_h11(sent.removeprefix(b"\r\n"))
        assert theirs.method.decode() == ours.head.method
        assert theirs.http_version == b"1.%d" % ours.head.minor
        assert origin_form(theirs.target.decode()) == ours.head.target
        assert {name.decode() for name, _ in theirs.headers} == set(ours.head.headers)
        for name, value in theirs.headers:
            if name != b"host" or b"://" not in theirs.target:
                assert value.decode("latin-1").lower() in ours.head.headers[name.decode()].lower()
        assert body == ours.body
    return len(requests)


def origin_form(target: str) -> str:
    path = re.sub("^https?://[^/?]*", "", target, flags=re.IGNORECASE)
    return path if path.startswith(("/", "*")) else "/" + path


def read_by_h11(sent: bytes) -> tuple[h11.Request, bytes, bytes]:
    """Its request, the request's body, and what follows it."""
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=HEAD_LIMIT)
    connection.receive_data(sent)
    request = connection.next_event()
    assert isinstance(request, h11.Request)
    body = b""
    while not isinstance(event := connection.next_event(), h11.EndOfMessage):
        assert isinstance(event, h11.Data), event
        body += event.data
    return request, body, connection.trailing_data[0]
