"""The envelope of a request: its access key, and where its payload lies.

The payload is checked to be JSON and never built into objects. This file is also what a replica of
the examiner runs, in a copy and alone: it imports msgspec and nothing of the house.
"""

from typing import Annotated

import msgspec


class Envelope(msgspec.Struct, frozen=True):
    """What a client sends. Keys that are not named here are nobody's business."""

    request: msgspec.Raw
    accessKey: str | None = None  # noqa: N815 - spelled so by clients


class NotAnEnvelope(Exception):
    """A body that cannot be read; the message tells the caller why."""


_decode = msgspec.json.Decoder(Envelope).decode
_read_raw = msgspec.json.Decoder(msgspec.Raw).decode


def read(body: bytes) -> Envelope:
    """The envelope that `body` is. Raises NotAnEnvelope."""
    try:
        # msgspec passes raw parts on without looking at their encoding.
        if not body.isascii():
            str(body, "utf-8")
        return _decode(body)
    except UnicodeDecodeError as error:
        raise NotAnEnvelope(f"the body is not UTF-8 (byte {error.start})") from error
    except msgspec.ValidationError as error:
        raise NotAnEnvelope(f"the body is not a request: {error}") from error
    except msgspec.DecodeError as error:
        raise NotAnEnvelope(f"the body is not JSON: {error}") from error
    except RecursionError as error:
        raise NotAnEnvelope("the body is nested too deeply") from error


def examine(body: bytes) -> list[int | str | None]:
    """[where the payload begins, where it ends, the access key], or [why there is none]."""
    try:
        envelope = read(body)
    except NotAnEnvelope as wrong:
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
