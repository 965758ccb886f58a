"""What every reply but those to callers of models tells a browser.

A page may use what comes from this gateway, and nothing else: no inline script or style, no frame
around it, no form that leads away. What is no page is nothing to look at: should a browser show it
all the same (a file of a project, a log), nothing in it may run.
"""

from collections.abc import Mapping

_FOR_ALL = {
    "X-Content-Type-Options": "nosniff",
    # Not `no-referrer`: then our own forms would say `Origin: null` (gotcha W1).
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
_NO_PAGE = {"Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'; sandbox"}
_NOT_KEPT = "no-store"
# Where the request came over TLS: for a year browsers do not ask this name in the clear.
HSTS = "max-age=31536000"


def security_headers(content_type: str, cache_control: str = "") -> Mapping[str, str]:
    """The headers of a reply of this type. Unless it says how long it may be kept, it may not."""
    of_kind = _PAGE if content_type.startswith("text/html") else _NO_PAGE
    return {**_FOR_ALL, **of_kind, "Cache-Control": cache_control or _NOT_KEPT}
