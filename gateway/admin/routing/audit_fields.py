"""The part of a request's body that the audit log may contain: names of fields, harmless values.

A free text may be a password or a variable's value, so only the name of its field is recorded. The
values of numbers and of enumerations, such as a role or a visibility, are recorded.
"""

from collections.abc import Iterator

import msgspec


def audit_summary(body: msgspec.Struct) -> str:
    """The fields that differ from their defaults: `role=admin, comment, full_name`."""
    return ", ".join(_parts(body))


def _parts(body: msgspec.Struct) -> Iterator[str]:
    described = msgspec.inspect.type_info(type(body))
    assert isinstance(described, msgspec.inspect.StructType)
    for field in described.fields:
        value = getattr(body, field.name)
        if value is msgspec.UNSET or value is None or value == _default(field):
            continue
        if isinstance(value, msgspec.Struct):
            yield from _parts(value)
        elif isinstance(value, bool):
            yield f"{field.encode_name}={'true' if value else 'false'}"
        elif isinstance(value, int | float) or _is_enumeration(field.type):
            yield f"{field.encode_name}={value}"
        else:
            yield field.encode_name


def _default(field: msgspec.inspect.Field) -> object:
    if field.default_factory is not msgspec.NODEFAULT:
        return field.default_factory()
    return field.default


def _is_enumeration(kind: msgspec.inspect.Type) -> bool:
    if isinstance(kind, msgspec.inspect.UnionType):
        return all(_is_enumeration(each) for each in kind.types if not _is_absence(each))
    return isinstance(kind, msgspec.inspect.LiteralType)


def _is_absence(kind: msgspec.inspect.Type) -> bool:
    """None or UNSET: msgspec describes both as NoneType."""
    return isinstance(kind, msgspec.inspect.NoneType)
