"""Decodes the JSON body of an admin request into the Struct of its route.

The rules are those of protobuf's JSON: null means the default, and a number may be a text. An
unknown field is refused by name, since a client assumes that a field which is silently dropped has
taken effect. These unknown fields pass: one with an empty value (null, false, 0, "", [], {}:
clients fill in defaults), an id that the path has, a field of a reply that cannot be changed
(`read_only`, for clients that send a whole record back), and a value that applies anyway
(`granted`).

The body is decoded on the loop, so it must not take longer than a millisecond with any content.
Three rules ensure that:

- The route bounds the body (route.py), at FREE_BYTES at most.
- No object is created from what the Struct does not declare. A value that may be any JSON is a
  `msgspec.Raw`: it is checked, and kept as its text.
- Every other value is at most FIELD_BYTES long, and has as many entries as its type allows.
"""

from collections.abc import Iterator
from difflib import get_close_matches
from functools import cache
from typing import Any

import msgspec

from gateway.errors import Refusal
from gateway.predictions.envelope import not_json, not_utf_8, without_mark

# Skipping JSON takes at most 3 ns a byte (nested brackets), decoding it to text 12.
FREE_BYTES = 256 * 1024
FIELD_BYTES = 64 * 1024
# A longer body with unknown fields is refused without checking each field.
_CHECKED_BYTES = 16 * 1024
_EMPTY = (b"null", b"false", b"0", b"0.0", b'"0"', b'""', b"[]", b"{}")
_IN_PATH = (
    "project_id",
    "model_id",
    "build_id",
    "deployment_id",
    "experiment_id",
    "run_id",
    "username",
)
_NULL = msgspec.Raw(b"null")
_read_entries = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


class BodyReader:
    """Decodes the bodies of one route, whose Struct is `kind`."""

    def __init__(self, kind: type[msgspec.Struct]) -> None:
        self._layout = _layout_of(kind)
        self._strict = kind.__struct_config__.forbid_unknown_fields
        self._read_raw = msgspec.json.Decoder(self._layout.raw).decode
        self._read = msgspec.json.Decoder(kind, strict=False).decode

    def read(self, body: bytes) -> Any:
        """The decoded body. Raises Refusal with the name of an invalid field."""
        body = without_mark(body)
        try:
            if not body.isascii():
                str(body, "utf-8")  # msgspec does not check the encoding of raw parts
            found = self._split(body)
            read = self._read(self._layout.text(found))
            self._layout.restore_raw(found, read)
        except (msgspec.ValidationError, RecursionError) as error:
            raise Refusal("argument.invalid", str(error)) from error
        except msgspec.DecodeError as error:
            raise Refusal("argument.invalid", not_json(body, error)) from error
        except UnicodeDecodeError as error:
            raise Refusal("argument.invalid", not_utf_8(body, error)) from error
        return read

    def _split(self, body: bytes) -> msgspec.Struct:
        try:
            return self._read_raw(body)
        except msgspec.ValidationError as error:
            if self._strict or len(body) > _CHECKED_BYTES or "unknown field" not in str(error):
                raise
        return self._read_raw(self._layout.known(body))


class _Layout:
    """The fields of a Struct, and of the Structs in it. `raw` is a Struct of the same fields, each
    of which is JSON text: it splits a body without creating objects."""

    def __init__(self, kind: type[msgspec.Struct]) -> None:
        described = msgspec.inspect.type_info(kind)
        assert isinstance(described, msgspec.inspect.StructType)
        self.raw: type[msgspec.Struct]
        self._inner: dict[str, _Layout] = {}
        self._free: set[str] = set()
        self._mappings: set[str] = set()
        fields: list[tuple[str, Any, Any]] = []
        for field in described.fields:
            name, kinds = field.encode_name, list(_alternatives(field.type))
            inner = next((k.cls for k in kinds if isinstance(k, msgspec.inspect.StructType)), None)
            if inner is not None:
                layout = self._inner[name] = _layout_of(inner)
                fields.append((name, layout.raw | None, None))
                continue
            fields.append((name, msgspec.Raw, _NULL))
            if any(isinstance(k, msgspec.inspect.RawType) for k in kinds):
                self._free.add(name)
            elif any(_has_nulls_to_drop(k) for k in kinds):
                self._mappings.add(name)
        self._names = [name for name, *_ in fields]
        self._passes = {*_IN_PATH, *getattr(kind, "read_only", ())}
        granted: dict[str, str] = getattr(kind, "granted", {})
        self._granted = {(name, f'"{value}"'.encode()) for name, value in granted.items()}
        self.raw = msgspec.defstruct(kind.__name__, fields, forbid_unknown_fields=True)

    def known(self, body: bytes, path: str = "") -> bytes:
        """The body without unknown fields without effect. Raises Refusal for the others."""
        parts: dict[str, msgspec.Raw] = {}
        for name, value in _read_entries(body).items():
            text = bytes(value)
            if name in self._inner and text.startswith(b"{"):
                text = self._inner[name].known(text, f"{path}{name}.")
            if name in self._names:
                parts[name] = msgspec.Raw(text)
            elif not self._has_no_effect(name, text):
                short = name[:64]
                close = get_close_matches(short, self._names, 1)
                hint = f"; did you mean {close[0]!r}?" if close else ""
                raise Refusal("argument.invalid", f"{path}{short}: there is no such field{hint}")
        return msgspec.json.encode(parts)

    def _has_no_effect(self, name: str, text: bytes) -> bool:
        if name in self._passes or (name, text) in self._granted:
            return True
        return b"".join(text[:20].split()) in _EMPTY

    def text(self, found: msgspec.Struct) -> bytes:
        """The JSON to decode the Struct from: without nulls, and with null for each raw field."""
        parts = [b'"%b":%b' % (name.encode(), text) for name, text in self._parts(found)]
        return b"{%b}" % b",".join(parts)

    def _parts(self, found: msgspec.Struct) -> Iterator[tuple[str, bytes]]:
        for name in found.__struct_fields__:
            value = getattr(found, name)
            if isinstance(value, msgspec.Struct):
                yield name, self._inner[name].text(value)
            elif value is not None and value != _NULL:
                yield name, b"null" if name in self._free else self._bounded(name, bytes(value))

    def _bounded(self, name: str, text: bytes) -> bytes:
        if len(text) > FIELD_BYTES:
            raise Refusal("argument.invalid", f"{name} is longer than {FIELD_BYTES} bytes of JSON")
        if name in self._mappings and text.startswith(b'"'):  # as in replies: JSON in a text
            inner = msgspec.json.decode(text, type=str)
            text = msgspec.json.encode(_read_entries(inner)) if inner else b"{}"
        if name in self._mappings and text.startswith(b"{") and b"null" in text:
            entries = _read_entries(text)
            text = msgspec.json.encode({k: v for k, v in entries.items() if v != _NULL})
        return text

    def restore_raw(self, found: msgspec.Struct, read: msgspec.Struct) -> None:
        """Sets the raw fields of the decoded Struct."""
        for name in self._free:
            if (value := getattr(found, name)) != _NULL:
                setattr(read, name, msgspec.Raw(bytes(value)))
        for name, layout in self._inner.items():
            if (value := getattr(found, name)) is not None:
                layout.restore_raw(value, getattr(read, name))


@cache
def _layout_of(kind: type[msgspec.Struct]) -> _Layout:
    return _Layout(kind)


def _has_nulls_to_drop(kind: msgspec.inspect.Type) -> bool:
    """Whether nulls in a mapping are dropped: not if its values may be any JSON."""
    if not isinstance(kind, msgspec.inspect.DictType):
        return False
    return not isinstance(kind.value_type, msgspec.inspect.RawType)


def _alternatives(kind: msgspec.inspect.Type) -> Iterator[msgspec.inspect.Type]:
    if isinstance(kind, msgspec.inspect.UnionType):
        for each in kind.types:
            yield from _alternatives(each)
    elif isinstance(kind, msgspec.inspect.Metadata):
        yield from _alternatives(kind.type)
    else:
        yield kind
