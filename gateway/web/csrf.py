"""Whether a request that a browser sent was meant by whoever sits there: plain decisions.

A browser adds the session's cookie to whatever any page makes it send. Two things tell what our
own pages send from what others do, and what changes state by a cookie needs both:

- **where it comes from**, which the browser itself says: `Sec-Fetch-Site`, or, where that is not
  sent (plain HTTP beyond loopback, old browsers), the host in `Origin`;
- **the form token**, which our pages have in them and others cannot read. It is derived from the
  session, so nothing is kept, and from it the session cannot be told.

`SameSite` of the cookie is a third, weaker one: to it another port of this machine is the same site
(gotcha W2).
"""

import hmac
from collections.abc import Callable
from urllib.parse import urlsplit

from gateway.errors import Refusal

SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
TOKEN_FIELD = "form_token"
TOKEN_HEADER = "X-CSRF-Token"
# "none": typed, a bookmark, a page that was loaded again.
_OURS = ("same-origin", "none")


def form_token(session: str) -> str:
    """What the forms of this session carry; `session` is what its cookie holds."""
    return hmac.digest(session.encode(), b"form token", "sha256").hex()


def check_origin(header: Callable[[str], str | None], public_url: str) -> None:
    """Raises Refusal for a request from another site's page; `header` gives one by its name, and
    pages at `public_url` are ours. A client that is not a browser passes: no other
    site can use its cookies."""
    site, origin = header("Sec-Fetch-Site"), header("Origin")
    if site is not None:
        ours = site in _OURS
    else:
        # Not the scheme: it differs behind a proxy that ends TLS, which may say a Host of its own.
        ours = (
            origin is None
            or _host(origin) == (header("Host") or "").lower()
            or origin.lower() == public_url
        )
    if not ours:
        raise Refusal("auth.csrf", "the request comes from a page of another site")


def check_token(session: str, given: str) -> None:
    """Raises Refusal where the form token is not the session's."""
    if not hmac.compare_digest(given.encode("utf-8", "replace"), form_token(session).encode()):
        raise Refusal("auth.csrf", "the request does not carry the token of the session")


def _host(origin: str) -> str | None:
    try:
        return urlsplit(origin).netloc.lower() or None
    except ValueError:
        return None
