"""The metrics of a prediction: values by their keys.

A replica answers one prediction at a time, so at most one `PredictionMetrics` is open. The first
decorated call of a prediction opens it, and it is sent with the answer, so all decorated calls and
all threads of one prediction share it. The metrics of a failed prediction are dropped.

Values become JSON when they are tracked. So a value without a JSON form fails on that very line,
and later changes by the model have no effect. Only values that the gateway can read are accepted:
it would refuse the whole prediction's row for one bad value.
"""

from __future__ import annotations

import json
import os
import re
import time
import types

from .encode import encode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, MutableMapping
    from typing import Any

    Function = Callable[..., Any]

_BODY = b'{"predictionUuid":"%b","startTimeStampMs":%d,"endTimeStampMs":%d,"metrics":{%b}%b}'
# The metrics of one prediction, as JSON: the gateway accepts no longer frame (its wire.py).
MOST_BYTES = 260_000
MOST_KEYS = 1_000
DEEPEST = 500  # levels of nesting; the gateway reads twice as many
_SHORT = 10**18
LONGEST_INTEGER = 4300  # digits that the gateway reads; Python 3.8 writes longer integers
# Bound now (gotcha G11 in README).
_say = json.JSONEncoder(ensure_ascii=False).encode
_read = json.JSONDecoder().decode
_STRING = re.compile(rb'"(?:[^"\\]|\\.)*"')
_TOO_LONG = re.compile(rb"[0-9]{%d}" % (LONGEST_INTEGER + 1))


class PredictionMetrics:
    """One prediction: its uuid, when it began and ended (in ms), and its metrics as JSON."""

    __slots__ = ("_since", "began", "depth", "ended", "free", "metrics", "refused", "uuid")

    def __init__(self) -> None:
        self.began = self.ended = time.time_ns() // 1_000_000
        self._since = time.monotonic_ns()
        self.uuid = _uuid(self.began)
        self.depth = 0
        self.metrics: dict[bytes, bytes] = {}  # `"key":value`, by `"key":`
        self.free = MOST_BYTES
        self.refused = 0  # values that did not fit

    def track(self, key: object, value: object) -> None:
        """Records a value, and replaces an earlier value of the same key.

        Raises TypeError or ValueError, naming the key, for a value without a JSON form or one that
        does not fit.
        """
        name = (_names.get(key) if type(key) is str else None) or _name(key)
        pair = name + text_of(key, value)
        metrics = self.metrics
        before = metrics.get(name)
        if before is None and len(metrics) >= MOST_KEYS:
            self.refused += 1
            raise ValueError(
                f"track_metric({key!r}): one prediction may have {MOST_KEYS} keys;"
                " track a list or a dict instead"
            )
        free = self.free - len(pair) + (len(before) if before else 0)
        if free < 0:
            self.refused += 1
            raise ValueError(
                f"track_metric({key!r}): what is tracked of one prediction may be"
                f" {MOST_BYTES} bytes long as JSON; this would be more"
            )
        self.free = free
        metrics[name] = pair

    def enter(self) -> PredictionMetrics:
        """Call it when a decorated function is called."""
        self.depth += 1
        return self

    def leave(self) -> bool:
        """Call it when the function has returned. Whether it was the outermost."""
        self.depth -= 1
        # By the monotonic duration, since the clock may have been set meanwhile.
        self.ended = self.began + (time.monotonic_ns() - self._since) // 1_000_000
        return self.depth == 0

    def body(self) -> bytes:
        """The body of a TRACKED frame."""
        pairs = b",".join(self.metrics.values())
        refused = b',"refused":%d' % self.refused if self.refused else b""
        return _BODY % (self.uuid.encode(), self.began, self.ended, pairs, refused)


class MetricRecorder:
    """The process's state of the predictions that it makes."""

    __slots__ = ("asked", "crns", "originals", "page", "serves")

    def __init__(self) -> None:
        # Set once in a replica, by START.
        self.serves = False
        self.crns: Mapping[str, str] = {}
        # Whether a prediction is being made: the model may call its own function at other times.
        self.asked = False
        self.page: PredictionMetrics | None = None
        # The original of each decorated function; only sdk/models.py adds some.
        self.originals: MutableMapping[Function, Function] = {}

    def serve(self, crns: Mapping[str, str]) -> None:
        """Marks this process as a replica."""
        self.serves, self.crns = True, crns

    def undecorated(self, function: Function) -> Function:
        """The original of a decorated function; any other function itself."""
        # Other callables may not support weak references.
        is_function = isinstance(function, types.FunctionType)
        return self.originals.get(function, function) if is_function else function

    def served(
        self, function: Function, plain: Callable[[Function], Function]
    ) -> tuple[Function, Callable[[object], bytes]]:
        """How to call the model's function, and how to encode its result as JSON. `plain` makes it
        a function that need not be awaited.

        A decorated function is called without its decorator, whose work takes half the time here.
        """
        original = self.undecorated(function)
        if original is function:
            return plain(function), encode
        original = plain(original)
        before = b'{"model_deployment_crn":%b,"prediction":' % encode(self.crns["deployment"])

        def predict(argument: object) -> object:
            page = self.page = PredictionMetrics().enter()
            prediction = original(argument)
            page.leave()
            return prediction

        def say(prediction: object) -> bytes:
            assert self.page is not None
            return b'%b%b,"uuid":"%b"}' % (before, encode(prediction), self.page.uuid.encode())

        return predict, say


book = MetricRecorder()


# Keys in their JSON form, with the colon: a model has few and uses them many times.
_names: dict[str, bytes] = {}
_MOST_NAMES = 1000


def _name(key: object) -> bytes:
    text = key_of(key)
    name = encode(text) + b":"
    # Exactly str, since a subclass may be equal to a str and have other text.
    if type(key) is str and len(_names) < _MOST_NAMES:
        _names[key] = name
    return name


def key_of(key: object) -> str:
    """A key in its stored form. Raises TypeError for a key that is not a str."""
    if not isinstance(key, str):
        raise TypeError(f"track_metric: the key {key!r} is of type {type(key).__name__!r}, no str")
    return key if key.isascii() else _whole(key)


def text_of(key: object, value: object) -> bytes:
    """A value's JSON, in its stored form. Raises TypeError or ValueError that name the key."""
    if type(value) is int and -_SHORT < value < _SHORT:  # a quarter of the cost
        return b"%d" % value
    try:
        text = encode(value)
        # `in` would take three times as long.
        if len(text) > DEEPEST or text.find(b"\\ud") >= 0:
            text = storable(text)
        return text
    except TypeError as problem:
        raise TypeError(f"track_metric({key!r}): {problem}") from None
    except ValueError as problem:
        raise ValueError(f"track_metric({key!r}): {problem}") from None


def storable(text: bytes) -> bytes:
    """JSON as the gateway can read it: lone surrogates become U+FFFD (gotcha G6 in README).

    Raises ValueError for values that are nested too deep, and for integers that are too long.
    """
    if b"\\ud" in text:
        text = _whole(_say(_read(str(text, "utf-8")))).encode()
    if len(text) <= DEEPEST:
        return text
    bare = _STRING.sub(b"", text)
    if _TOO_LONG.search(bare):
        raise ValueError(f"an integer is too long to be kept: more than {LONGEST_INTEGER} digits")
    if bare.count(b"[") + bare.count(b"{") > DEEPEST:
        depth = 0
        for bracket in re.findall(rb"[\[{}\]]", bare):
            depth += 1 if bracket in b"[{" else -1
            if depth > DEEPEST:
                raise ValueError(f"the value is nested too deep to be kept: more than {DEEPEST}")
    return text


def _whole(text: str) -> str:
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _uuid(milliseconds: int) -> str:
    """A uuid (version 7): random, but later ones sort after earlier ones, which saves the database
    most of its work. The module `uuid` takes three times as long."""
    began, chance = f"{milliseconds:012x}", os.urandom(9).hex()
    return f"{began[:8]}-{began[8:]}-7{chance[:3]}-8{chance[3:6]}-{chance[6:]}"
