"""The parameters of a query, parsed and checked. Each raises Refusal("argument.invalid")."""

from datetime import UTC, datetime

from quart import request

from gateway.errors import Refusal

_FIRST = datetime(1970, 1, 1, tzinfo=UTC)
_LARGEST = 999_999_999


def text(name: str, default: str = "") -> str:
    return request.args.get(name, default)


def choice(name: str, options: tuple[str, ...], default: str = "") -> str:
    """One of the options, or the default where the query has none."""
    value = text(name) or default
    if value != default and value not in options:
        raise Refusal("argument.invalid", f"{name}: {value!r} is not one of {', '.join(options)}")
    return value


def whole_number(name: str, default: int, *, least: int = 0, most: int = _LARGEST) -> int:
    """A number in digits. One above `most` is refused."""
    value = text(name)
    if not value:
        return default
    # Not more digits than `most` has: int() of very many takes long.
    is_number = value.isascii() and value.isdecimal() and len(value) <= len(str(most))
    if not is_number or not least <= int(value) <= most:
        problem = f"{name}: {value[:50]!r} is not a whole number from {least} to {most}"
        raise Refusal("argument.invalid", problem)
    return int(value)


def limit(name: str, default: int, *, least: int = 0, most: int) -> int:
    """As `whole_number`, but a number above `most` counts as `most`: for sizes of a page."""
    return min(whole_number(name, default, least=least), most)


def moment(name: str) -> datetime | None:
    """The time of a parameter in UTC, if the query has it."""
    return parse_moment(name, text(name)) if text(name) else None


def parse_moment(name: str, value: str) -> datetime:
    """An ISO 8601 time in UTC, between 1970 and 9999. One without a zone is in UTC."""
    try:
        read = datetime.fromisoformat(value)
        found = read.astimezone(UTC) if read.tzinfo else read.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        found = datetime.min.replace(tzinfo=UTC)
    if found < _FIRST:
        problem = (
            f"{name}: {value[:50]!r} is not a time such as 2027-01-31T00:00:00Z, from 1970 to 9999"
        )
        raise Refusal("argument.invalid", problem)
    return found
