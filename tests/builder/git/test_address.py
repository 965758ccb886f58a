"""Addresses of repositories that cannot do anything else, and hold no secret."""

import pytest

from builder.errors import CloneRefused
from builder.git.address import read_address


@pytest.mark.parametrize(
    "url",
    [
        "https://github.com/owner/name.git",
        "http://host:8080/name",
        "ssh://git@host/name",
        "git://host/name",
        "file:///srv/name",
        "git@github.com:owner/name.git",
        "host:name",
    ],
)
def test_usual_addresses_are_accepted(url: str) -> None:
    """Every usual kind of address is accepted."""
    assert read_address(url).url == url


@pytest.mark.parametrize(
    "url",
    [
        "",
        "ext::sh -c touch% /tmp/x",
        "ext::sh",
        "fd::17",
        "-u./evil",
        "--upload-pack=evil",
        "/srv/name",
        "../name",
        "file://host/name",
        "https://",
        "https:///name",
        "https://host",
        "ssh://-oProxyCommand=evil/name",
        "-oProxyCommand=evil:name",
        "git@-oProxyCommand=evil:name",
        "host:-name",
        "ftp://host/name",
        "https://host/na me",
        "https://host/name\n--upload-pack=evil",
        "https://[host/name",
    ],
)
def test_other_addresses_are_refused(url: str) -> None:
    """Any other address is refused by name, before git sees it."""
    with pytest.raises(CloneRefused) as caught:
        read_address(url)
    assert repr(url) in caught.value.problem


@pytest.mark.parametrize(
    ("url", "shown", "user", "password"),
    [
        ("https://ada:s%2Fe%40c@host:8/x.git", "https://host:8/x.git", "ada", "s/e@c"),
        ("https://token@host/x", "https://host/x", "token", ""),
        ("http://:secret@[::1]/x", "http://[::1]/x", "", "secret"),
        ("HTTPS://a:b@HOST/x", "https://HOST/x", "a", "b"),
        ("ssh://git@host/x", "ssh://git@host/x", "", ""),
        ("git@host:x", "git@host:x", "", ""),
    ],
)
def test_name_and_password(url: str, shown: str, user: str, password: str) -> None:
    """They are split off; what is left may be shown."""
    address = read_address(url)
    assert (address.url, address.user, address.password) == (shown, user, password)
    assert repr(address) == f"Address({shown!r})"


@pytest.mark.parametrize(
    "url",
    [
        "https://host/x?private_token=SECRET",
        "https://host/x#SECRET",
        "https://user:SECRET@host/x?a=b",
        "https://user:SEC/RET@host/x",
        "https://user:1/SECRET@host/x",
        "https://user:SECRET%0Aurl=x@host/x",
        "ssh://git:SECRET@host/x",
        "git://user:SECRET@host/x",
        "ftp://user:SECRET@host/name",
        "ssh://-oProxyCommand=SECRET@host/name",
        "https://user:SECRET@host",
        "https://user:SECRET@[host/x",
        "https://user:SECRET@host:99999/x",
    ],
)
def test_secrets_in_other_parts_of_an_address_are_refused(url: str) -> None:
    """What would be shown with the address is refused, with what to do, and is not repeated."""
    with pytest.raises(CloneRefused) as caught:
        read_address(url)
    assert "host" in caught.value.problem
    for part in ("SECRET", "SEC", "RET@"):
        assert part not in str(caught.value)
