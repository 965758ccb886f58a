"""The security headers of every response, except those to calls of models.

A page may use only resources of this gateway: no inline script or style, no frame around it, no
form to another site. A response that is not a page (a file of a project, a log) is sandboxed, so
that nothing in it runs if a browser shows it.
"""

from collections.abc import Mapping

_COMMON = {
    "X-Content-Type-Options": "nosniff",
    # Not `no-referrer`: the gateway's own forms would then send `Origin: null` (gotcha W1).
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
_PAGE = {
    "Content-Security-Policy": (
        "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; "
        "object-src 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
}
_NOT_A_PAGE = {"Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'; sandbox"}
_NO_STORE = "no-store"
# For requests over TLS: browsers use only TLS for this name, for a year.
HSTS = "max-age=31536000"


def security_headers(content_type: str, cache_control: str = "") -> Mapping[str, str]:
    """The headers of a response of this type. Without a `cache_control` it may not be cached."""
    specific = _PAGE if content_type.startswith("text/html") else _NOT_A_PAGE
    return {**_COMMON, **specific, "Cache-Control": cache_control or _NO_STORE}
