"""What of a request's body the audit trail may say: which fields it gives, and harmless values.

A text that somebody typed may be a password or a variable's value, so only its field is named.
Numbers, and words of which the type lists all there are, are told: a role, a visibility.
"""

from collections.abc import Iterator

import msgspec


def given(body: msgspec.Struct) -> str:
    """The fields that differ from their defaults: `role=admin, comment, full_name`."""
    return ", ".join(_told(body))


def _told(body: msgspec.Struct) -> Iterator[str]:
    described = msgspec.inspect.type_info(type(body))
    assert isinstance(described, msgspec.inspect.StructType)
    for field in described.fields:
        value = getattr(body, field.name)
        if value is msgspec.UNSET or value is None or value == _default(field):
            continue
        if isinstance(value, msgspec.Struct):
            yield from _told(value)
        elif isinstance(value, bool):
            yield f"{field.encode_name}={'true' if value else 'false'}"
        elif isinstance(value, int | float) or _is_one_of_a_few(field.type):
            yield f"{field.encode_name}={value}"
        else:
            yield field.encode_name


def _default(field: msgspec.inspect.Field) -> object:
    if field.default_factory is not msgspec.NODEFAULT:
        return field.default_factory()
    return field.default


def _is_one_of_a_few(kind: msgspec.inspect.Type) -> bool:
    if isinstance(kind, msgspec.inspect.UnionType):
        return all(_is_one_of_a_few(each) for each in kind.types if not _is_absence(each))
    return isinstance(kind, msgspec.inspect.LiteralType)


def _is_absence(kind: msgspec.inspect.Type) -> bool:
    """None, or UNSET, which msgspec describes as nothing of the kind of values there are."""
    return isinstance(kind, msgspec.inspect.NoneType)
