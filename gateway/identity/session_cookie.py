"""The cookies of a browser: one of its session, and one by which it is known after that.

No script can read them, and a request from another site has them only if the user follows a link.
With TLS they are never sent without it, and the prefix `__Host-` makes browsers reject a cookie of
that name which another host has set.
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


# A year. A browser that returns later is unknown again.
DEVICE_SECONDS = 365 * 24 * 3600


def device_cookie(secure: bool) -> Cookie:
    """The cookie of a browser in which a user has signed in: it gives no access."""
    name = "__Host-predictd_device" if secure else "predictd_device"
    return Cookie(key=name, path="/", httponly=True, samesite="Strict", secure=secure)


def session_in(cookies: Mapping[str, str], secure: bool) -> str:
    """What the browser holds, or ""."""
    return cookies.get(session_cookie(secure)["key"], "")


def device_in(cookies: Mapping[str, str], secure: bool) -> str:
    """The value that says that a user has signed in with this browser before, or ""."""
    return cookies.get(device_cookie(secure)["key"], "")
