"""Turns what a model returns into JSON, for every kind of value that models are known to return.

First by the standard library's C encoder, helped along by `simpler` where it knows no way. Only
when that fails is the value walked by hand, which is slower and knows more: NaN and infinities
become null, keys become strings, and what cannot be said is named with the path to it.

No type is imported to be recognised: a value of numpy or pandas can only exist where those are
loaded already, so the names of its type's ancestors, or the methods they have, tell enough.
"""

from __future__ import annotations

import json
import math
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Steps = tuple[str | int, ...]  # the way to a value: keys and indices, outermost first


def encode(value: object) -> bytes:
    """`value` as JSON; TypeError or ValueError, with the path, when it cannot be said in JSON."""
    try:
        try:
            return _at_once(value)
        except (TypeError, ValueError, KeyError):  # KeyError: gotcha G7 in README
            return _dumps(_plain(value, (), frozenset())).encode()
    except RecursionError:
        raise ValueError("the value is nested too deep to be said in JSON") from None


def _at_once(value: object) -> bytes:
    """By the C encoder alone."""
    try:
        return "".join(_pieces(value, 0)).encode()
    except BaseException:
        _around.clear()
        raise


def simpler(value: Any) -> object:
    """One step from `value` towards what JSON knows; TypeError when there is none."""
    kind = type(value)
    for ancestor in kind.__mro__:
        rule = _BY_NAME.get((ancestor.__module__, ancestor.__name__))
        if rule is not None:
            return rule(value)
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    # Looked up on the type: a class that is returned by mistake has these methods, but not so.
    if hasattr(kind, "__dataclass_fields__"):
        return _fields(value)
    if hasattr(kind, "to_dict") and hasattr(kind, "columns"):
        return value.to_dict("records")
    if hasattr(kind, "tolist"):
        return _elements(value)
    if kind.__name__ == "NAType":
        return None
    raise TypeError(f"a value of type {kind.__name__!r} cannot be said in JSON")


def _moment(value: Any) -> str | None:
    # Only pandas' NaT is a moment that is not equal to itself.
    return value.isoformat() if value == value else None


def _duration(value: Any) -> str:
    sign, value = ("-", -value) if value.days < 0 else ("", value)
    minutes, seconds = divmod(value.seconds, 60)
    hours, minutes = divmod(minutes, 60)
    fraction = f".{value.microseconds:06}".rstrip("0").rstrip(".")
    return f"{sign}P{value.days}DT{hours}H{minutes}M{seconds}{fraction}S"


def _number(value: Any) -> int | float | None:
    if not value.is_finite():
        return None
    if value.adjusted() > _MOST_DIGITS:  # to write out 1E+999999999 would take hours
        raise TypeError(f"a number of {value.adjusted() + 1} digits cannot be said in JSON")
    return int(value) if value == value.to_integral_value() else float(value)


def _fields(value: Any) -> dict[str, object]:
    from dataclasses import fields  # loaded by whoever made the dataclass

    return {field.name: getattr(value, field.name) for field in fields(value)}


def _elements(value: Any) -> object:
    """An array as lists, or a scalar of numpy as one of Python's."""
    elements = value.tolist()
    # A longdouble is no float of Python's and stays what it is.
    return float(value) if type(elements) is type(value) else elements


def _of_numpy(value: Any) -> object:
    """The same, where there may be times that numpy would give as bare integers (gotcha G5)."""
    kind = value.dtype.kind
    if value.dtype.str.endswith(_IN_MICROSECONDS.get(kind, ())):
        value = value.astype(kind + "8[us]")
    if kind in "mM" and any(type(element) is int for element in value.ravel().tolist()):
        raise TypeError("a time that Python's datetime cannot hold cannot be said in JSON")
    return _elements(value)


_BY_NAME: dict[tuple[str, str], Callable[[Any], object]] = {
    ("builtins", "set"): list,
    ("builtins", "frozenset"): list,
    ("datetime", "date"): _moment,
    ("datetime", "time"): _moment,
    ("datetime", "timedelta"): _duration,
    ("decimal", "Decimal"): _number,
    ("enum", "Enum"): lambda member: member.value,
    ("numpy", "generic"): _of_numpy,
    ("numpy", "ndarray"): _of_numpy,
    ("uuid", "UUID"): str,
}
# Python's own times end at microseconds, and its durations know no years.
_IN_MICROSECONDS = {
    "M": ("[ns]", "[ps]", "[fs]", "[as]"),
    "m": ("[ns]", "[ps]", "[fs]", "[as]", "[M]", "[Y]", "m8"),
}
_MOST_DIGITS = 10_000  # more than Python writes out unless it is told to
_dumps = json.JSONEncoder(allow_nan=False, separators=(",", ":"), default=simpler).encode
# The same, made once instead of for each value, which takes half the time (gotcha G7 in README).
# What is being encoded is noted in `_around`, by which a value that holds itself is found.
_around: dict[int, object] = {}
_pieces = json.encoder.c_make_encoder(  # type: ignore[attr-defined]  # unknown to typeshed
    _around, simpler, json.encoder.encode_basestring_ascii, None, ":", ",", False, False, False
)


def _plain(value: object, steps: Steps, around: frozenset[int]) -> object:
    """`value` made of JSON's own types alone; `around` are the ids of what holds it."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, int):
        try:
            int.__repr__(value)
        except ValueError as problem:  # more digits than Python writes out
            raise ValueError(f"at {_path(steps)}: {problem}") from None
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if id(value) in around:
        raise ValueError(f"at {_path(steps)}: a value that holds itself cannot be said in JSON")
    around |= {id(value)}
    if isinstance(value, dict):
        named = ((_key(key, steps), item) for key, item in value.items())
        return {name: _plain(item, (*steps, name), around) for name, item in named}
    if isinstance(value, (list, tuple)):
        return [_plain(item, (*steps, index), around) for index, item in enumerate(value)]
    try:
        step = simpler(value)
    except TypeError as problem:
        raise TypeError(f"at {_path(steps)}: {problem}") from None
    return _plain(step, steps, around)


def _key(key: object, steps: Steps) -> str:
    if isinstance(key, str):
        return key
    if key is None or isinstance(key, (int, float)):
        return json.dumps(key)
    try:
        name = simpler(key)
    except TypeError:
        name = key
    if name is key or isinstance(name, (dict, list, tuple)):
        kind = type(key).__name__
        raise TypeError(f"at {_path(steps)}: a key of type {kind!r} cannot be said in JSON")
    return _key(name, steps)


def _path(steps: Steps) -> str:
    parts = (
        f".{step}" if isinstance(step, str) and step.isidentifier() else f"[{json.dumps(step)}]"
        for step in steps
    )
    return "$" + "".join(parts)
