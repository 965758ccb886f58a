"""Requests that another site made a browser send are refused."""

import pytest

from gateway.errors import Refusal
from gateway.web.csrf import check_origin, check_token, form_token

PUBLIC = "https://public.example"
HOST = {"Host": "models.example:8080"}


@pytest.mark.parametrize(
    "headers",
    [
        {},  # no browser
        {"Sec-Fetch-Site": "same-origin", "Origin": "null"},
        {"Sec-Fetch-Site": "none"},
        {"Origin": "http://models.example:8080"},
        {"Origin": "https://models.example:8080"},  # a proxy ends TLS
        {"Origin": "http://MODELS.example:8080"},
        {"Origin": PUBLIC},
    ],
)
def test_request_of_own_page_passes(headers: dict[str, str]) -> None:
    """Requests of our own pages, and of what is no browser, pass."""
    check_origin((HOST | headers).get, PUBLIC)


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},  # another port, or another name of the same domain
        {"Sec-Fetch-Site": ""},
        {"Sec-Fetch-Site": "cross-site", "Origin": "http://models.example:8080"},
        {"Origin": "http://models.example:9090"},
        {"Origin": "http://models.example"},
        {"Origin": "http://evil.example"},
        {"Origin": "http://public.example"},
        {"Origin": "https://public.example:8443"},
        {"Origin": "http://models.example:8080.evil.example"},
        {"Origin": "http://models.example:8080@evil.example"},
        {"Origin": "null"},
        {"Origin": ""},
        {"Origin": "http://[models.example:8080"},
    ],
)
def test_request_of_other_site_is_refused(headers: dict[str, str]) -> None:
    """Requests of other sites' pages are refused, and so is what cannot be told."""
    with pytest.raises(Refusal) as caught:
        check_origin((HOST | headers).get, PUBLIC)
    assert caught.value.code == "auth.csrf"


def test_a_form_token_is_that_of_its_session_only() -> None:
    """The token of one session is wrong in another, and so is none, or the session itself."""
    check_token("mine", form_token("mine"))
    for given in ("", "mine", form_token("another"), form_token("mine")[:-1], "\ud800"):
        with pytest.raises(Refusal) as caught:
            check_token("mine", given)
        assert caught.value.code == "auth.csrf"


def test_a_form_token_does_not_tell_its_session() -> None:
    """The form token in a page does not reveal the session."""
    assert "secret" not in form_token("secret")
