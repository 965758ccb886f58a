"""Protection against forged requests (CSRF): did a page of this gateway send the request?

A browser adds the session's cookie to every request, also to one that a page of another site
triggers. A request with a cookie that changes state has to pass two checks:

- **its origin**, which the browser states: `Sec-Fetch-Site`, or the host in `Origin` where that is
  not sent (plain HTTP beyond loopback, old browsers);
- **the form token**, which is in the pages of this gateway; other sites cannot read them. It is
  derived from the session, so it is not stored. The session cannot be derived from it.

`SameSite` of the cookie is a third, weaker protection: another port of this machine is the same
site (gotcha W2).
"""

import hmac
from collections.abc import Callable
from urllib.parse import urlsplit

from gateway.errors import Refusal

SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
TOKEN_FIELD = "form_token"
TOKEN_HEADER = "X-CSRF-Token"
# "none": an address that was typed, a bookmark, a reload.
_ALLOWED_SITES = ("same-origin", "none")


def form_token(session: str) -> str:
    """The token in the forms of a session; `session` is the value of its cookie."""
    return hmac.digest(session.encode(), b"form token", "sha256").hex()


def check_origin(header: Callable[[str], str | None], public_url: str) -> None:
    """Raises Refusal for a request from a page of another site. `header` returns a header by name;
    pages at `public_url` are of this gateway. A client that is not a browser passes: no other site
    can use its cookies."""
    site, origin = header("Sec-Fetch-Site"), header("Origin")
    if site is not None:
        allowed = site in _ALLOWED_SITES
    else:
        # Without the scheme, which differs behind a proxy that ends TLS and may set its own Host.
        allowed = (
            origin is None
            or _host(origin) == (header("Host") or "").lower()
            or origin.lower() == public_url
        )
    if not allowed:
        raise Refusal("auth.csrf", "the request comes from a page of another site")


def check_token(session: str, token: str) -> None:
    """Raises Refusal unless the form token is that of the session."""
    if not hmac.compare_digest(token.encode("utf-8", "replace"), form_token(session).encode()):
        raise Refusal("auth.csrf", "the request does not have the form token of the session")


def _host(origin: str) -> str | None:
    try:
        return urlsplit(origin).netloc.lower() or None
    except ValueError:
        return None
