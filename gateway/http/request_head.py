"""Heads of HTTP/1.1 requests, parsed strictly: what they mean and where the body ends. No I/O.

A request that two parsers could read in two ways is refused, because request smuggling depends on
such requests. So a head must match the grammar in this file, obey its rules, and give the very same
fields when llhttp (httptools) parses it. RFC 9112 allows all of these refusals and requires most.

The hot path caches parsed heads by their bytes (head_cache.py), so strictness costs next to
nothing.
"""

import re
from urllib.parse import unquote

import httptools
import msgspec

HEAD_LIMIT = 16 * 1024
FIELDS_LIMIT = 100
# Parts of a query, and of headers that are split: a part costs half a microsecond to two.
PARTS_LIMIT = 200
_SEPARATORS = {"cookie": ";", "accept": ",;", "content-type": ";"}
# Other methods get 501: no route has them, and CONNECT would make a tunnel of the connection.
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
# Headers that may occur once: of two, it would be unclear which one counts.
SINGLE = frozenset(
    {"host", "content-length", "content-type", "authorization", "x-access-key", "x-request-timeout"}
)

_TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_REQUEST_LINE = rb"(%b) ([!-~]+) HTTP/([0-9])\.([0-9])\r\n" % _TOKEN
_FIELD = rb"%b:[\t -~\x80-\xff]*\r\n" % _TOKEN
# Some clients send an empty line after a body: RFC 9112, 2.2.
_HEAD = re.compile(rb"(?:\r\n)?%b((?:%b)*)\r\n" % (_REQUEST_LINE, _FIELD))
_NEVER = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]|(?<!\r)\n|\r(?!\n|\Z)")
# Labels of a host name: other libraries refuse to encode longer or empty ones.
_LABEL = r"[A-Za-z0-9_~!$&'()*+,;=%-]"
_NAME = rf"(?:{_LABEL}{{1,63}}\.)*{_LABEL}{{0,63}}"
_HOST = rf"(?:\[[0-9A-Fa-f:.]+\]|{_NAME})(?::[0-9]{{0,5}})?"
_AUTHORITY = re.compile(_HOST)
_ABSOLUTE = re.compile(rf"https?://(?P<host>{_HOST})(?P<rest>[/?].*)?", re.IGNORECASE)
_LENGTH = re.compile(r"[0-9]{1,15}")


_CODES = {
    400: "request.malformed",
    408: "request.timeout",
    431: "request.head",
    501: "request.unsupported",
    505: "request.version",
}


class ProtocolError(Exception):
    """A malformed request. `status` is that of HTTP, `message` says what is wrong, `refusal_code`
    is the code of the error catalogue.

    It is unknown where the next request begins, so the connection must be closed.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.refusal_code = _CODES[status]


class RequestHead(msgspec.Struct, frozen=True):
    """A request without its body. Equal requests share it, so it is never changed.

    `target` is in origin form, or `*`. `path` is its part before the query, percent-decoded as
    UTF-8 as ASGI servers do (invalid bytes become U+FFFD, `%2F` becomes `/`); `query` is raw.
    Header names are in lower case, values are latin-1; values of repeated headers are joined.
    With `expects_continue` the client may wait for `100 Continue` before it sends the body.
    """

    method: str
    target: str
    path: str
    query: str
    minor: int
    headers: dict[str, str]
    length: int
    chunked: bool
    keep_alive: bool
    expects_continue: bool


def end_of_head(data: bytes | bytearray, seen: int = 0) -> int:
    """The length of the head at the start of `data`, with its empty line; 0 if it is incomplete.

    An earlier call has checked the first `seen` bytes. Raises ProtocolError as soon as the bytes
    cannot become a head.
    """
    end = data.find(b"\r\n\r\n", max(0, seen - 3), HEAD_LIMIT)
    if end >= 0:
        return end + 4
    if _NEVER.search(data, max(0, seen - 1), HEAD_LIMIT):
        raise _fault(bytes(data[:HEAD_LIMIT]))
    if len(data) >= HEAD_LIMIT:
        raise _too_large()
    return 0


def parse_head(block: bytes) -> RequestHead:
    """Parses a head, from its first byte to its empty line. Raises ProtocolError."""
    if len(block) > HEAD_LIMIT:
        raise _too_large()
    parts = _HEAD.fullmatch(block)
    if parts is None:
        raise _fault(block)
    method, target, major, minor, lines = parts.groups()
    if lines.count(b"\n") > FIELDS_LIMIT:
        raise _too_large()
    if major != b"1" or minor not in b"01":
        raise ProtocolError(505, "the gateway speaks HTTP/1.1 and HTTP/1.0 only")
    if method.decode() not in METHODS:
        raise ProtocolError(501, f"the method {method.decode()[:20]!r} is not supported")
    fields = [_field(line) for line in lines.split(b"\r\n")[:-1]]
    head = _interpret(method.decode(), target.decode(), int(minor), fields)
    _cross_check(block, target, fields)
    return head


def _too_large() -> ProtocolError:
    return ProtocolError(
        431, f"the head is larger than {HEAD_LIMIT} bytes or has more than {FIELDS_LIMIT} headers"
    )


def _fault(block: bytes) -> ProtocolError:
    """What is wrong with a head that does not match the grammar."""
    found = _NEVER.search(block)
    if found and found[0] in b"\r\n":
        return ProtocolError(400, "a line of the head does not end with CR LF")
    if found:
        return ProtocolError(400, f"the head contains the character {found[0]!r}")
    first, *lines = block.removeprefix(b"\r\n").split(b"\r\n")
    if not re.fullmatch(_REQUEST_LINE, first + b"\r\n"):
        return ProtocolError(400, "the first line is not METHOD /path HTTP/1.1")
    for line in lines:
        if line.startswith((b" ", b"\t")):
            return ProtocolError(400, "a header continues in the next line")
        if line and not re.fullmatch(_FIELD, line + b"\r\n"):
            return ProtocolError(400, f"{line[:40].decode('latin-1')!r} is not a header")
    return ProtocolError(400, "the head is incomplete")


def _field(line: bytes) -> tuple[bytes, bytes]:
    name, _, value = line.partition(b":")
    return name.lower(), value.strip(b" \t")


def _interpret(
    method: str, target: str, minor: int, fields: list[tuple[bytes, bytes]]
) -> RequestHead:
    """What well-formed parts mean together. Raises ProtocolError if that is unclear."""
    headers = _join(fields)
    target, authority = _origin_form(method, target)
    if minor == 1 and "host" not in headers:
        raise ProtocolError(400, "the request has no Host header, which HTTP/1.1 requires")
    if not _AUTHORITY.fullmatch(headers.get("host", "")):
        raise ProtocolError(400, "the Host header is not a host name")
    if authority is not None:
        headers["host"] = authority  # RFC 9112, 3.2.2
    length, chunked = _framing(headers, minor)
    path, _, query = target.partition("?")
    _check_parts("query", query, "&")
    for name, separators in _SEPARATORS.items():
        _check_parts(name, headers.get(name, ""), separators)
    options = {option.strip() for option in headers.get("connection", "").lower().split(",")}
    expects = headers.get("expect", "").lower() == "100-continue"
    return RequestHead(
        method=method,
        target=target,
        path=unquote(path),
        query=query,
        minor=minor,
        headers=headers,
        length=length,
        chunked=chunked,
        keep_alive="close" not in options and (minor == 1 or "keep-alive" in options),
        expects_continue=expects and minor == 1 and (length > 0 or chunked),
    )


def _check_parts(what: str, text: str, separators: str) -> None:
    if sum(map(text.count, separators)) >= PARTS_LIMIT:
        raise ProtocolError(431, f"the {what} has more than {PARTS_LIMIT} parts")


def _join(fields: list[tuple[bytes, bytes]]) -> dict[str, str]:
    headers: dict[str, str] = {}
    for raw_name, raw_value in fields:
        name, value = raw_name.decode(), raw_value.decode("latin-1")
        if name not in headers:
            headers[name] = value
        elif name in SINGLE:
            raise ProtocolError(400, f"the request has several {name} headers")
        else:
            headers[name] += ("; " if name == "cookie" else ", ") + value
    return headers


def _origin_form(method: str, target: str) -> tuple[str, str | None]:
    """The target without scheme and host, and that host, if any."""
    if "#" in target:
        raise ProtocolError(400, "the target contains a fragment")
    if target.startswith("/") or (target == "*" and method == "OPTIONS"):
        return target, None
    absolute = _ABSOLUTE.fullmatch(target)
    if absolute is None or not absolute["host"]:
        raise ProtocolError(400, "the target is not a path")
    rest = absolute["rest"] or ("*" if method == "OPTIONS" else "/")
    return ("/" + rest if rest.startswith("?") else rest), absolute["host"]


def _framing(headers: dict[str, str], minor: int) -> tuple[int, bool]:
    """The body's length, and whether it is chunked."""
    length, coding = headers.get("content-length"), headers.get("transfer-encoding")
    if coding is None:
        if length is None:
            return 0, False
        if not _LENGTH.fullmatch(length):
            raise ProtocolError(400, "the Content-Length is not a number of bytes")
        return int(length), False
    if length is not None:
        raise ProtocolError(400, "the request has both Content-Length and Transfer-Encoding")
    if minor == 0:
        raise ProtocolError(400, "the request has a Transfer-Encoding, which HTTP/1.0 lacks")
    if coding.lower() != "chunked":
        raise ProtocolError(501, "the Transfer-Encoding is not chunked, the only one supported")
    return 0, True


class _Fields:
    """What llhttp reads in a head."""

    def __init__(self) -> None:
        self.target = b""
        self.fields: list[tuple[bytes, bytes]] = []

    def on_url(self, target: bytes) -> None:
        self.target += target

    def on_header(self, name: bytes, value: bytes) -> None:
        self.fields.append((name.lower(), value.strip(b" \t")))


def _cross_check(block: bytes, target: bytes, fields: list[tuple[bytes, bytes]]) -> None:
    """Parses the head with llhttp as well. Raises ProtocolError if the results differ."""
    seen = _Fields()
    try:
        httptools.HttpRequestParser(seen).feed_data(block)
    except httptools.HttpParserUpgrade:
        pass  # a server may ignore a request to upgrade
    except httptools.HttpParserError as error:
        raise ProtocolError(400, f"the head is malformed: {error}") from error
    if seen.target != target or seen.fields != fields:
        raise ProtocolError(400, "two parsers read the head in different ways")
