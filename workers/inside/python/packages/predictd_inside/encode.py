"""Turns what a model returns into JSON, for every kind of value that models are known to return.

The standard library's C encoder is first, with `simpler` for types that it does not know. Only when
that fails is the value walked by hand, which is slower and handles more: NaN and infinities become
null, keys become strings, and an error names the path to a value without a JSON form.

A value that would lose data is refused: columns and keys of one name, labels of an index, fields of
an array, digits of a time. The error says what, where, and what to return instead.

No type is imported to recognise it: a value of numpy or pandas can exist only where those are
loaded already. So the names of its type's ancestors, or their methods, identify it.
"""

from __future__ import annotations

import json
import math
import os

# `collections.abc` by the name under which it is loaded already (gotcha G2 in README).
from _collections_abc import Mapping, Sequence, Set, ValuesView

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Steps = tuple[str | int, ...]  # the path to a value: keys and indices, outermost first


def encode(value: object) -> bytes:
    """`value` as JSON. Raises TypeError or ValueError, with the path, if it has no JSON form."""
    try:
        try:
            return "".join(_pieces(value, 0)).encode()  # by the C encoder alone
        except BaseException:
            _around.clear()
            raise
    except RecursionError:
        raise ValueError(_TOO_DEEP) from None
    except (TypeError, ValueError, KeyError):  # KeyError: gotcha G7 in README
        return _by_hand(value)


def _by_hand(value: object) -> bytes:
    try:
        return _dumps(_plain(value, (), frozenset())).encode()
    except RecursionError:
        raise ValueError(_TOO_DEEP) from None


def simpler(value: Any) -> object:
    """One step from `value` towards JSON's types. Raises TypeError if there is none."""
    kind = type(value)
    for ancestor in kind.__mro__:
        rule = _BY_NAME.get((ancestor.__module__, ancestor.__name__))
        if rule is not None:
            return rule(value)
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    # Looked up on the type: a class that is returned by mistake has these methods on itself.
    for mark, fields_of in _BY_MARK.items():
        if hasattr(kind, mark):
            return fields_of(value)
    if hasattr(kind, "to_dict") and hasattr(kind, "columns"):
        return _records(value)
    if hasattr(kind, "tolist"):
        _refuse_labels(value, "`.to_dict()` to keep them or `.tolist()` to drop them")
        return _elements(value)
    if kind.__name__ == "NAType":
        return None
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, (Sequence, Set, ValuesView)) and not isinstance(value, _BYTES):
        return list(value)
    raise TypeError(f"a value of type {kind.__name__!r} cannot be said in JSON")


def _moment(value: Any) -> str | None:
    # Only pandas' NaT is a time that is not equal to itself.
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


def _of_dataclass(value: Any) -> dict[str, object]:
    from dataclasses import fields  # loaded by the code that made the dataclass

    return {field.name: getattr(value, field.name) for field in fields(value)}


def _of_attrs(value: Any) -> dict[str, object]:
    return {field.name: getattr(value, field.name) for field in value.__attrs_attrs__}


def _of_msgspec(value: Any) -> dict[str, object]:
    said = zip(value.__struct_encode_fields__, value.__struct_fields__)  # a field may be renamed
    return {name: getattr(value, field) for name, field in said}


def _records(frame: Any) -> object:
    """A data frame as one object for each row."""
    seen: set[object] = set()
    for column in frame.columns:
        name = _key(column, ()) if isinstance(column, (str, int, float)) else column
        if name in seen:
            raise TypeError(
                f"more than one column of this {type(frame).__name__} is named {name!r}, and all"
                " but one would be lost: rename them"
            )
        seen.add(name)
    _refuse_labels(frame, "`.reset_index()` to keep them or `.reset_index(drop=True)` to drop them")
    return frame.to_dict("records")


def _refuse_labels(value: Any, remedy: str) -> None:
    """Raises TypeError if the rows of a frame or series have labels, which a list cannot keep.

    Integers without a name are not labels but row numbers, as after a filter or a sort.
    """
    index: Any = getattr(value, "index", None)
    names = getattr(index, "names", None)
    if names is None or not len(index):  # not pandas': a list has an `index`, too
        return
    if len(names) == 1 and names[0] is None and index.dtype.kind in "iu":
        return
    kind, first = type(value).__name__, index[:1].tolist()[0]
    raise TypeError(f"the labels of this {kind} ({first!r}, ...) would be lost: return {remedy}")


def _elements(value: Any) -> object:
    """An array as lists, or a scalar of numpy as one of Python's."""
    elements = value.tolist()
    # `tolist` leaves a longdouble as it is, which is not Python's float.
    return float(value) if type(elements) is type(value) else elements


def _of_numpy(value: Any) -> object:
    """`_elements`, for types whose times numpy may give as bare integers (gotcha G5)."""
    kind = value.dtype.kind
    if kind == "V" and value.dtype.names:
        raise TypeError(
            f"the names of the fields ({', '.join(value.dtype.names)}) of this"
            f" {type(value).__name__} would be lost: return a dict, or `.tolist()` to drop them"
        )
    if value.dtype.str.endswith(_IN_MICROSECONDS.get(kind, ())):
        shorter = value.astype(kind + "8[us]")
        # NaT is not equal to itself either.
        if "[M]" not in value.dtype.str and "[Y]" not in value.dtype.str:
            changed = shorter.astype(value.dtype) != value
            if (changed & (value == value)).any():
                raise TypeError(
                    "a time with digits beyond the microsecond would lose them: return text"
                    f" (`.astype(str)`), or `.astype('{kind}8[us]')` to drop them"
                )
        value = shorter
    if kind in "mM" and any(type(element) is int for element in value.ravel().tolist()):
        raise TypeError("a time that Python's datetime cannot hold cannot be said in JSON")
    return _elements(value)


_BY_NAME: dict[tuple[str, str], Callable[[Any], object]] = {
    ("datetime", "date"): _moment,
    ("datetime", "time"): _moment,
    ("datetime", "timedelta"): _duration,
    ("decimal", "Decimal"): _number,
    ("enum", "Enum"): lambda member: member.value,
    ("ipaddress", "_IPAddressBase"): str,
    ("numpy", "generic"): _of_numpy,
    ("numpy", "ndarray"): _of_numpy,
    ("uuid", "UUID"): str,
}
# The attribute that marks a type of records: dataclasses, pydantic (2 and 1), attrs, msgspec.
_BY_MARK: dict[str, Callable[[Any], object]] = {
    "__dataclass_fields__": _of_dataclass,
    "model_dump": lambda model: model.model_dump(),
    "__fields_set__": lambda model: model.dict(),
    "__attrs_attrs__": _of_attrs,
    "__struct_fields__": _of_msgspec,
}
_BYTES = (bytes, bytearray, memoryview)
# Python's own times end at microseconds, and its durations have no years.
_IN_MICROSECONDS = {
    "M": ("[ns]", "[ps]", "[fs]", "[as]"),
    "m": ("[ns]", "[ps]", "[fs]", "[as]", "[M]", "[Y]", "m8"),
}
_TOO_DEEP = "the value is nested too deep to be said in JSON"
_MOST_DIGITS = 10_000  # more than Python writes out unless it is told to
# Bound now: a model that replaces `json.dumps` replaces it for itself (gotcha G11 in README).
_say = json.JSONEncoder().encode
_dumps = json.JSONEncoder(allow_nan=False, separators=(",", ":"), default=simpler).encode
# The same encoder, made once instead of for each value: half the time (gotcha G7 in README). It
# records the values that it is encoding in `_around`, and so finds a value that contains itself.
_around: dict[int, object] = {}
_pieces = json.encoder.c_make_encoder(  # type: ignore[attr-defined]  # unknown to typeshed
    _around, simpler, json.encoder.encode_basestring_ascii, None, ":", ",", False, False, False
)


def _plain(value: object, steps: Steps, around: frozenset[int]) -> object:
    """`value` in JSON's own types only; `around` are the ids of the values that contain it."""
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
        return _named(value, steps, around)
    if isinstance(value, (list, tuple)):
        return [_plain(item, (*steps, index), around) for index, item in enumerate(value)]
    try:
        step = simpler(value)
    except TypeError as problem:
        raise TypeError(f"at {_path(steps)}: {problem}") from None
    return _plain(step, steps, around)


def _named(value: dict[Any, object], steps: Steps, around: frozenset[int]) -> dict[str, object]:
    plain: dict[str, object] = {}
    for key, item in value.items():
        name = _key(key, steps)
        if name in plain:
            raise TypeError(
                f"at {_path(steps)}: two keys of this dict are {name!r} in JSON,"
                " and one would be lost"
            )
        plain[name] = _plain(item, (*steps, name), around)
    return plain


def _key(key: object, steps: Steps) -> str:
    if isinstance(key, str):
        return key
    if key is None or isinstance(key, (int, float)):
        return _say(key)
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
        f".{step}" if isinstance(step, str) and step.isidentifier() else f"[{_say(step)}]"
        for step in steps
    )
    return "$" + "".join(parts)
