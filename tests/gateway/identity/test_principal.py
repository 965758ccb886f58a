"""Who asks: what a header says of it."""

import pytest

from gateway.identity.principal import bearer, token_in


@pytest.mark.parametrize(
    ("header", "token"),
    [
        ("Bearer abc", "abc"),
        ("bearer abc", "abc"),
        ("BEARER   abc ", "abc"),
        ("Basic abc", ""),
        ("Bearer", ""),
        ("abc", ""),
        ("", ""),
        (None, ""),
    ],
)
def test_the_token_of_a_header(header: str | None, token: str) -> None:
    """The scheme is Bearer in any case; anything else has no token."""
    assert bearer(header) == token


@pytest.mark.parametrize(
    ("header", "token"),
    [
        ("Bearer abc", "abc"),
        ("basic YWJjOg==", "abc"),
        ("Basic YWJj", "abc"),
        ("Basic !", ""),
        ("", ""),
    ],
)
def test_the_key_of_a_header(header: str, token: str) -> None:
    """A legacy key comes as the user of Basic, without a password."""
    assert token_in(header) == token
