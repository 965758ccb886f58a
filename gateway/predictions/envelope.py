"""The envelope of a call: its access key, and where its payload lies.

The payload is checked to be JSON and never decoded into objects. Replicas of the offload pool run a
copy of this file alone, so it imports msgspec and nothing of the gateway.
"""

import re
from typing import Annotated

import msgspec


class Envelope(msgspec.Struct, frozen=True):
    """The body of a call. Other keys are ignored."""

    request: msgspec.Raw
    accessKey: str | None = None  # noqa: N815 - spelled so by clients


class InvalidEnvelope(Exception):
    """A body that cannot be read; the message says why."""

    refusal_code = "request.invalid"


_BOM = b"\xef\xbb\xbf"
_decode = msgspec.json.Decoder(Envelope).decode
_read_raw = msgspec.json.Decoder(msgspec.Raw).decode


def read(body: bytes) -> Envelope:
    """Parses the body of a call; skips a byte order mark. Raises InvalidEnvelope."""
    try:
        # msgspec does not check the encoding of raw parts.
        if not body.isascii():
            str(body, "utf-8")
        return _decode(body)
    except UnicodeDecodeError as error:
        raise InvalidEnvelope(not_utf_8(body, error)) from error
    except msgspec.ValidationError as error:
        raise InvalidEnvelope(f"the body is not a request: {error}") from error
    except msgspec.DecodeError as error:
        if body.startswith(_BOM) and not body.startswith(2 * _BOM):
            return read(body[len(_BOM) :])
        raise InvalidEnvelope(not_json(body, error)) from error
    except RecursionError as error:
        raise InvalidEnvelope("the body is nested too deeply") from error


# What some libraries and people write, and what JSON has instead.
_SPELLINGS = {
    b"NaN": "null",
    b"Infinity": "null",
    b"None": "null",
    b"True": "true",
    b"False": "false",
    b"'": 'text in double quotes (")',
}
_BYTE = re.compile(r" \(byte (\d+)\)$")
# Half of a surrogate pair; msgspec expects the other half.
_HALF = re.compile(rb"\\u[dD][89abAB][0-9a-fA-F]{2}(?!\\u)")
_HALF_PAIR = "a \\u escape is half of a surrogate pair"
_PLAIN = {
    "Input data was truncated": "it ends early",
    "unexpected end of hex escape": _HALF_PAIR,
    "invalid utf-16 surrogate pair": _HALF_PAIR,
}


def not_json(body: bytes, error: msgspec.DecodeError) -> str:
    """What is wrong with a body that msgspec cannot decode, for its sender."""
    if not body or body.isspace():
        return "the body is empty"
    if is_utf_16(body):
        return _UTF_16
    message = str(error).removeprefix("JSON is malformed: ")
    position = _BYTE.search(message)
    begin = int(position[1]) if position else len(body)
    for wrong, right in _SPELLINGS.items():
        if body.startswith(wrong, begin):
            return f"the body is not JSON: {wrong.decode()} at byte {begin}; send {right}"
    what = _BYTE.sub("", message)
    if begin == len(body) and _HALF.search(body[-12:]):
        what = _HALF_PAIR
    return f"the body is not JSON: {_PLAIN.get(what, what)}{position[0] if position else ''}"


_UTF_16 = "the body is UTF-16; send it as UTF-8"


def is_utf_16(body: bytes) -> bool:
    """Whether the text begins like UTF-16 or UTF-32. JSON in UTF-8 has no such bytes there."""
    return body.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\0" in body[:4]


def not_utf_8(body: bytes, error: UnicodeDecodeError) -> str:
    """What is wrong with a body that is not UTF-8, for its sender."""
    return _UTF_16 if is_utf_16(body) else f"the body is not UTF-8 (byte {error.start})"


def without_mark(body: bytes) -> bytes:
    """The body without the byte order mark of UTF-8."""
    return body.removeprefix(_BOM)


def examine(body: bytes) -> list[int | str | None]:
    """[start of the payload, end of the payload, access key], or [why the body is invalid]."""
    try:
        envelope = read(body)
    except InvalidEnvelope as error:
        return [str(error)]
    begin = body.find(envelope.request)
    return [begin, begin + len(memoryview(envelope.request)), envelope.accessKey]


class _Tracked(msgspec.Struct):
    metrics: Annotated[dict[str, msgspec.Raw], msgspec.Meta(max_length=1000)]


_read_tracked = msgspec.json.Decoder(_Tracked).decode


def check_tracked(body: bytes) -> str:
    """What is wrong with the tracked metrics of one prediction; "" for nothing."""
    try:
        _read_tracked(body)
    except (UnicodeDecodeError, msgspec.DecodeError, RecursionError) as error:
        return str(error)
    return ""


def check(body: bytes) -> str:
    """What is wrong with a large answer; "" where it is one JSON value in UTF-8."""
    try:
        if not body.isascii():
            str(body, "utf-8")
        _read_raw(body)
    except (UnicodeDecodeError, msgspec.DecodeError, RecursionError) as error:
        return str(error)
    return ""
