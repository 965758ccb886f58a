"""The one cookie: what a signed-in browser holds.

No script can read it, and other sites' pages do not send it along unless somebody follows a link.
With TLS it never travels without, and its prefix makes browsers hold a neighbour's cookie off that
claims to be ours (`__Host-`: set by this very host, over TLS, for all of it).
"""

from collections.abc import Mapping
from typing import TypedDict


class Cookie(TypedDict):
    """As Quart's `Response.set_cookie` takes it."""

    key: str
    path: str
    httponly: bool
    samesite: str
    secure: bool


def session_cookie(secure: bool) -> Cookie:
    """The cookie of sessions, without its value; `secure` says that the gateway has TLS."""
    name = "__Host-predictd_session" if secure else "predictd_session"
    return Cookie(key=name, path="/", httponly=True, samesite="Lax", secure=secure)


def session_in(cookies: Mapping[str, str], secure: bool) -> str:
    """What the browser holds, or ""."""
    return cookies.get(session_cookie(secure)["key"], "")
