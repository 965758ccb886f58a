"""HTTP/1.1 requests, read strictly: what a head says and where its body ends. No I/O.

A request that two readers could understand in two ways is refused, whatever either would make of
it: that is what request smuggling lives on. So a head must fit the grammar written here, obey the
rules below it, and be read by llhttp (httptools) to the very same fields. RFC 9112 allows a server
all of these refusals, and asks for most of them.

A head is a pure function of its bytes, and clients that keep a connection repeat theirs. Who is in
a hurry remembers what came of them (head_cache.py), so strictness costs next to nothing.
"""

import re
from urllib.parse import unquote

import httptools
import msgspec

HEAD_LIMIT = 16 * 1024
FIELDS_LIMIT = 100
# Of a query, and of headers that are taken apart: each part costs half a microsecond to two.
PARTS_LIMIT = 200
_SEPARATORS = {"cookie": ";", "accept": ",;", "content-type": ";"}
# Others are 501: no route of ours takes them, and CONNECT would turn the connection into a tunnel.
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
# Two of these would leave it open which one counts.
SINGLE = frozenset(
    {"host", "content-length", "content-type", "authorization", "x-access-key", "x-request-timeout"}
)

_TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_REQUEST_LINE = rb"(%b) ([!-~]+) HTTP/([0-9])\.([0-9])\r\n" % _TOKEN
_FIELD = rb"%b:[\t -~\x80-\xff]*\r\n" % _TOKEN
# One empty line before it is what some clients send after a body: RFC 9112, 2.2.
_HEAD = re.compile(rb"(?:\r\n)?%b((?:%b)*)\r\n" % (_REQUEST_LINE, _FIELD))
_NEVER = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]|(?<!\r)\n|\r(?!\n|\Z)")
# Labels as names have them: other libraries refuse to encode one that is longer, or empty.
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
    """A request that is not read any further. `status` is HTTP's, `message` says what is wrong,
    `refusal_code` is the entry of the error catalogue.

    Where the next request begins is unknown from here on, so the connection must be closed.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.refusal_code = _CODES[status]


class Head(msgspec.Struct, frozen=True):
    """All that a request says before its body. Shared by equal requests: never changed.

    `target` is in origin form, or `*`. `path` is its part before the query, percent-decoded as
    UTF-8 (what cannot be is U+FFFD; `%2F` is `/`), as ASGI servers do; `query` is raw. Header
    names are in lower case, values latin-1; those of repeated headers are joined.
    `expects_continue`: the body may not come before `100 Continue` was sent.
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
    """How long the head at the start of `data` is, with its empty line; 0 if more must come.

    The first `seen` bytes were looked at in an earlier call. Raises Malformed as soon as no head
    can come of it.
    """
    end = data.find(b"\r\n\r\n", max(0, seen - 3), HEAD_LIMIT)
    if end >= 0:
        return end + 4
    if _NEVER.search(data, max(0, seen - 1), HEAD_LIMIT):
        raise _fault(bytes(data[:HEAD_LIMIT]))
    if len(data) >= HEAD_LIMIT:
        raise _too_large()
    return 0


def read_head(block: bytes) -> Head:
    """The head that `block` is, from its first byte to its empty line. Raises Malformed."""
    if len(block) > HEAD_LIMIT:
        raise _too_large()
    parts = _HEAD.fullmatch(block)
    if parts is None:
        raise _fault(block)
    method, target, major, minor, lines = parts.groups()
    if lines.count(b"\n") > FIELDS_LIMIT:
        raise _too_large()
    if major != b"1" or minor not in b"01":
        raise ProtocolError(505, "only HTTP/1.1 and HTTP/1.0 are spoken here")
    if method.decode() not in METHODS:
        raise ProtocolError(501, f"the method {method.decode()[:20]} is not known here")
    fields = [_field(line) for line in lines.split(b"\r\n")[:-1]]
    head = _interpret(method.decode(), target.decode(), int(minor), fields)
    _cross_check(block, target, fields)
    return head


def _too_large() -> ProtocolError:
    return ProtocolError(
        431, f"the head of a request may have {HEAD_LIMIT} bytes and {FIELDS_LIMIT} headers"
    )


def _fault(block: bytes) -> ProtocolError:
    """What is wrong with a head that does not fit the grammar."""
    found = _NEVER.search(block)
    if found and found[0] in b"\r\n":
        return ProtocolError(400, "a line of the head does not end with CR LF")
    if found:
        return ProtocolError(400, f"the head has the character {found[0]!r} in it")
    first, *lines = block.removeprefix(b"\r\n").split(b"\r\n")
    if not re.fullmatch(_REQUEST_LINE, first + b"\r\n"):
        return ProtocolError(400, "the first line is not METHOD /path HTTP/1.1")
    for line in lines:
        if line.startswith((b" ", b"\t")):
            return ProtocolError(400, "a header goes on in the next line")
        if line and not re.fullmatch(_FIELD, line + b"\r\n"):
            return ProtocolError(400, f"{line[:40].decode('latin-1')!r} is not a header")
    return ProtocolError(400, "the head is not complete")


def _field(line: bytes) -> tuple[bytes, bytes]:
    name, _, value = line.partition(b":")
    return name.lower(), value.strip(b" \t")


def _interpret(method: str, target: str, minor: int, fields: list[tuple[bytes, bytes]]) -> Head:
    """What well-formed parts mean together. Raises Malformed where that is not clear."""
    headers = _join(fields)
    target, authority = _origin_form(method, target)
    if minor == 1 and "host" not in headers:
        raise ProtocolError(400, "a request of HTTP/1.1 has a Host header")
    if not _AUTHORITY.fullmatch(headers.get("host", "")):
        raise ProtocolError(400, "the Host header names no host")
    if authority is not None:
        headers["host"] = authority  # RFC 9112, 3.2.2
    length, chunked = _framing(headers, minor)
    path, _, query = target.partition("?")
    _check_parts("query", query, "&")
    for name, separators in _SEPARATORS.items():
        _check_parts(name, headers.get(name, ""), separators)
    options = {option.strip() for option in headers.get("connection", "").lower().split(",")}
    expects = headers.get("expect", "").lower() == "100-continue"
    return Head(
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
        raise ProtocolError(431, f"the {what} of a request may have {PARTS_LIMIT} parts")


def _join(fields: list[tuple[bytes, bytes]]) -> dict[str, str]:
    headers: dict[str, str] = {}
    for raw_name, raw_value in fields:
        name, value = raw_name.decode(), raw_value.decode("latin-1")
        if name not in headers:
            headers[name] = value
        elif name in SINGLE:
            raise ProtocolError(400, f"there are several {name} headers")
        else:
            headers[name] += ("; " if name == "cookie" else ", ") + value
    return headers


def _origin_form(method: str, target: str) -> tuple[str, str | None]:
    """The target without scheme and host, and the host where it had one."""
    if "#" in target:
        raise ProtocolError(400, "the target has a fragment")
    if target.startswith("/") or (target == "*" and method == "OPTIONS"):
        return target, None
    absolute = _ABSOLUTE.fullmatch(target)
    if absolute is None or not absolute["host"]:
        raise ProtocolError(400, "the target is not a path")
    rest = absolute["rest"] or ("*" if method == "OPTIONS" else "/")
    return ("/" + rest if rest.startswith("?") else rest), absolute["host"]


def _framing(headers: dict[str, str], minor: int) -> tuple[int, bool]:
    """The body's length, and whether it comes in chunks."""
    length, coding = headers.get("content-length"), headers.get("transfer-encoding")
    if coding is None:
        if length is None:
            return 0, False
        if not _LENGTH.fullmatch(length):
            raise ProtocolError(400, "the Content-Length is not a number of bytes")
        return int(length), False
    if length is not None:
        raise ProtocolError(400, "there are both Content-Length and Transfer-Encoding")
    if minor == 0:
        raise ProtocolError(400, "HTTP/1.0 has no Transfer-Encoding")
    if coding.lower() != "chunked":
        raise ProtocolError(501, "the only Transfer-Encoding known here is chunked")
    return 0, True


class _Seen:
    """What llhttp finds in a head."""

    def __init__(self) -> None:
        self.target = b""
        self.fields: list[tuple[bytes, bytes]] = []

    def on_url(self, target: bytes) -> None:
        self.target += target

    def on_header(self, name: bytes, value: bytes) -> None:
        self.fields.append((name.lower(), value.strip(b" \t")))


def _cross_check(block: bytes, target: bytes, fields: list[tuple[bytes, bytes]]) -> None:
    """The second opinion. Raises Malformed if it is another one."""
    seen = _Seen()
    try:
        httptools.HttpRequestParser(seen).feed_data(block)
    except httptools.HttpParserUpgrade:
        pass  # Nothing is ever upgraded here: HTTP lets a server ignore the wish.
    except httptools.HttpParserError as error:
        raise ProtocolError(400, f"the head is malformed: {error}") from error
    if seen.target != target or seen.fields != fields:
        raise ProtocolError(400, "the head can be read in two ways")
