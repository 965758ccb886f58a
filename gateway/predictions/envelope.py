"""The envelope of a request: its access key, and where its payload lies.

The payload is checked to be JSON and never built into objects. This file is also what a replica of
the examiner runs, in a copy and alone: it imports msgspec and nothing of the house.
"""

import re
from typing import Annotated

import msgspec


class Envelope(msgspec.Struct, frozen=True):
    """What a client sends. Keys that are not named here are nobody's business."""

    request: msgspec.Raw
    accessKey: str | None = None  # noqa: N815 - spelled so by clients


class InvalidEnvelope(Exception):
    """A body that cannot be read; the message tells the caller why."""

    refusal_code = "request.invalid"


_BOM = b"\xef\xbb\xbf"
_decode = msgspec.json.Decoder(Envelope).decode
_read_raw = msgspec.json.Decoder(msgspec.Raw).decode


def read(body: bytes) -> Envelope:
    """The envelope that `body` is; a byte order mark before it is passed over. Raises
    NotAnEnvelope."""
    try:
        # msgspec passes raw parts on without looking at their encoding.
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


# What libraries and people write in the place of JSON, and what JSON has.
_SPELLINGS = {
    b"NaN": "null",
    b"Infinity": "null",
    b"None": "null",
    b"True": "true",
    b"False": "false",
    b"'": 'text in double quotes (")',
}
_BYTE = re.compile(r" \(byte (\d+)\)$")
# Of a pair that stands for one character; msgspec looks for the other one.
_HALF = re.compile(rb"\\u[dD][89abAB][0-9a-fA-F]{2}(?!\\u)")
_HALF_PAIR = "a \\u escape is half of a surrogate pair"
_SAID = {
    "Input data was truncated": "it ends early",
    "unexpected end of hex escape": _HALF_PAIR,
    "invalid utf-16 surrogate pair": _HALF_PAIR,
}


def not_json(body: bytes, error: msgspec.DecodeError) -> str:
    """What is wrong with a body that msgspec cannot read, for its sender."""
    if not body or body.isspace():
        return "the body is empty"
    if is_utf_16(body):
        return _UTF_16
    said = str(error).removeprefix("JSON is malformed: ")
    place = _BYTE.search(said)
    begin = int(place[1]) if place else len(body)
    for wrong, right in _SPELLINGS.items():
        if body.startswith(wrong, begin):
            return f"the body is not JSON: {wrong.decode()} at byte {begin}; send {right}"
    what = _BYTE.sub("", said)
    if begin == len(body) and _HALF.search(body[-12:]):
        what = _HALF_PAIR
    return f"the body is not JSON: {_SAID.get(what, what)}{place[0] if place else ''}"


_UTF_16 = "the body is UTF-16; send it as UTF-8"


def is_utf_16(body: bytes) -> bool:
    """Whether text begins as UTF-16 does, or UTF-32; JSON in UTF-8 has no such bytes there."""
    return body.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\0" in body[:4]


def not_utf_8(body: bytes, error: UnicodeDecodeError) -> str:
    """What is wrong with a body, for its sender."""
    return _UTF_16 if is_utf_16(body) else f"the body is not UTF-8 (byte {error.start})"


def without_mark(body: bytes) -> bytes:
    """The body without a byte order mark of UTF-8 before it."""
    return body.removeprefix(_BOM)


def examine(body: bytes) -> list[int | str | None]:
    """[where the payload begins, where it ends, the access key], or [why there is none]."""
    try:
        envelope = read(body)
    except InvalidEnvelope as wrong:
        return [str(wrong)]
    begin = body.find(envelope.request)
    return [begin, begin + len(memoryview(envelope.request)), envelope.accessKey]


class _Tracked(msgspec.Struct):
    metrics: Annotated[dict[str, msgspec.Raw], msgspec.Meta(max_length=1000)]


_read_tracked = msgspec.json.Decoder(_Tracked).decode


def check_tracked(body: bytes) -> str:
    """What is wrong with what a model tracked of one prediction; "" for nothing."""
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
