"""Moments that a request names, in a body or a query."""

from datetime import UTC, datetime

from gateway.errors import Refusal

_FIRST = datetime(1970, 1, 1, tzinfo=UTC)


def moment(name: str, text: str) -> datetime:
    """The moment, in UTC; one without a zone is meant so. Raises Refusal("argument.invalid") for
    what is none, or lies outside of 1970 to 9999."""
    try:
        read = datetime.fromisoformat(text)
        found = read.astimezone(UTC) if read.tzinfo else read.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        found = datetime.min.replace(tzinfo=UTC)
    if found < _FIRST:
        told = f"{name}: {text[:50]!r} is no time such as 2027-01-31T00:00:00Z, from 1970 to 9999"
        raise Refusal("argument.invalid", told)
    return found
